"""MAE's linear probe on the demo set: mean of the patch tokens after the final norm, BatchNorm, one linear layer, LARS.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks linear --data data/demo --out work_dirs/demo
hardware  CPU, 18 s a row on one thread
sources   recipe: transfer/linear_vitb.py; tokens, batch, epochs and rate: chosen on 1,000 images carved from train
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/linear_vitb.py", "../_base_/demo_vit.py"]

# Nothing is augmented, so that every image goes through the backbone once for all epochs.
protocol = dict(name="linear_mae_demo", cache_features=True)
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(_base_.backbone, _delete_=True, out_type="tokens", frozen=True),
    neck=dict(tokens="mean", batch_norm=_base_.backbone.arch.embed_dim),
    head=dict(num_classes=10, in_channels=_base_.backbone.arch.embed_dim),
)
pipeline = [dict(type="LoadRGB"), dict(type="PackImages")]
train_dataloader = dict(
    batch_size=100, num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=pipeline))
)
val_dataloader = dict(batch_size=250, num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
base_lr = 51.2  # 20 for 100 images
optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [dict(type="WarmupCosine", warmup=9, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=90, val_interval=90)
default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))
