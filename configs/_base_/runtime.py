"""What every run shares: scope, logging, checkpoints, randomness."""

default_scope = "mimeval"
# Root of the data: imagenet/, coco/ and ade20k/ below it. `--data ROOT` replaces it.
data_root = "data/"
randomness = dict(seed=0, deterministic=False)
env_cfg = dict(cudnn_benchmark=True, dist_cfg=dict(backend="nccl"))
log_level = "INFO"
load_from = None
resume = False
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    throughput=dict(type="ThroughputHook"),
    progress=dict(type="ProgressHook"),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_last=True),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = []
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
