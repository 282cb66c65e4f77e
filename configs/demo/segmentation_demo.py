"""UperNet on the demo set: four taps, a pyramid at strides 2 to 8, small heads, whole images.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks segmentation --data data/demo --out work_dirs/demo
hardware  CPU, 38 s a row on one thread
sources   recipe: transfer/upernet_vitb.py; sizes, iterations and rate: chosen on 1,000 images carved from train
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/upernet_vitb.py", "../_base_/demo_vit.py"]

protocol = dict(name="upernet_demo")
max_iters = 500
channels = 48
width, patch, depth = _base_.backbone.arch.embed_dim, _base_.backbone.patch_size, _base_.backbone.arch.depth
classes = ("background", *"0123456789")
palette = [[40, 40, 40]] + [[25 * k, 255 - 25 * k, (97 * k) % 256] for k in range(10)]
dataset = dict(
    _delete_=True,
    _scope_="mmseg",
    type="BaseSegDataset",
    data_root=_base_.data_root,
    metainfo=dict(classes=classes, palette=palette),
    reduce_zero_label=True,
    img_suffix=".png",
)
norm_cfg = dict(type="BN", requires_grad=True)
# Nine pixels of ten are background, and a short training would stop there.
weights = [0.2] + [1.0] * 10
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(
        _base_.backbone,
        _delete_=True,
        out_type="maps",
        taps=[depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)],
        pos_trainable=True,
    ),
    neck=dict(
        _delete_=True,
        type="Feature2Pyramid",
        embed_dim=width,
        rescales=[patch / stride for stride in (2, 4, 8, 16)],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        in_channels=[width] * 4,
        channels=channels,
        pool_scales=(1, 2),
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=weights),
    ),
    auxiliary_head=dict(
        in_channels=width,
        in_index=2,
        channels=channels,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=weights),
    ),
    test_cfg=dict(_delete_=True, mode="whole"),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        dataset=dict(
            dataset,
            data_prefix=dict(img_path="ade20k/images/training", seg_map_path="ade20k/annotations/training"),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", reduce_zero_label=True),
                dict(type="PackSegInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        dataset,
        data_prefix=dict(img_path="ade20k/images/validation", seg_map_path="ade20k/annotations/validation"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", reduce_zero_label=True),
            dict(type="PackSegInputs"),
        ],
    ),
)
base_lr = None
optim_wrapper = dict(
    precision="fp32", optimizer=dict(lr=1e-2, weight_decay=0.05), paramwise_cfg=dict(_delete_=True, layer_decay=0.9)
)
param_scheduler = [dict(type="WarmupCosine", warmup=20, by_epoch=False)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))
