"""Fine-tuning on the demo set: mean of the patches, new fc_norm, layer-wise lr decay.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks finetune --data data/demo --out work_dirs/demo
hardware  CPU, 56 s a row on one thread
sources   recipe: transfer/finetune_vitb.py without RandAugment, erasing, Mixup, CutMix, drop path and flip (a mirrored digit
          is another one); batch, epochs, rate and layer decay: chosen on 1,000 images carved from train
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/finetune_vitb.py", "../_base_/demo_vit.py"]

protocol = dict(name="finetune_mae_demo")
model = dict(
    data_preprocessor=dict(num_classes=10, mixup=None),
    backbone=dict(_base_.backbone, _delete_=True, out_type="mean", pos_trainable=True),
    head=dict(num_classes=10, in_channels=_base_.backbone.arch.embed_dim),
)
crop = dict(type="RandomResizedCrop", size=32, scale=(0.6, 1.0), interpolation="bilinear")
train_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(dataset=dict(pipeline=[dict(type="LoadRGB"), crop, dict(type="PackImages")])),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[dict(type="LoadRGB"), dict(type="PackImages")]),
)
base_lr = 1.5e-2  # 3e-3 for 50 images
optim_wrapper = dict(accumulative_counts=1, paramwise_cfg=dict(layer_decay=0.85))
param_scheduler = [dict(type="WarmupCosine", warmup=0.2, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))
