"""LocalMIM's fine-tuning of a Swin-B on ImageNet, from 400 epochs on normalised pixels.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_swinb.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images = batch 1024, 100 epochs; cost not measured here
sources   official LocalMIM Swin/README.md (lr 4e-3, layer decay 0.9, drop path 0.1), Swin/run_finetune.py (warm-up 20, min lr
          2.5e-7, head std 2e-5) and Swin/models_swin.py (window 7, epsilon 1e-6 but 1e-5 in norm2, pooled before the
          norm). Position bias tables are decayed: its groups read no_weight_decay but not no_weight_decay_keywords
expected  84.0 top-1 for LocalMIM Swin-B Pixel 400 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_vitb.py"]

protocol = dict(name="finetune_localmim_400ep_pixel")
model = dict(
    backbone=dict(
        _delete_=True,
        type="mimeval.SwinTransformer",
        arch="base",
        img_size=224,
        window_size=7,
        out_type="mean",
        norm_after_pool=True,
        norm_eps=1e-6,
        norm2_eps=1e-5,
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/swin_base_localmim_pixel_400ep_pretrain.pth"),
    ),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=128)
base_lr = 1e-3
optim_wrapper = dict(accumulative_counts=1, paramwise_cfg=dict(layer_decay=0.9, decay_tokens=True))
param_scheduler = [dict(type="WarmupCosine", warmup=20, min_lr=2.5e-7, convert_to_iter_based=True)]
