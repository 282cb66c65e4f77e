"""SimMIM's fine-tuning of a Swin-B on ImageNet at 192 pixels with windows of 6, as in its 100 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_simmim_swinb_100ep_192.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048, 100 epochs; cost not measured here
sources   official SimMIM configs/swin_base__100ep/simmim_finetune__swin_base__img192_window6__100ep.yaml; data/data_finetune.py (evaluation
          resizes to int(256 / 224 * 192) = 219); the rest as finetune_simmim_swinb_100ep.py
expected  82.8 top-1 for SimMIM Swin-B 100 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_simmim_swinb_100ep.py"]

protocol = dict(name="finetune_simmim_100ep_192")
size = 192
model = dict(backbone=dict(img_size=size, window_size=6))
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=size, scale=(0.08, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="RandAugment", config="rand-m9-mstd0.5-inc1", size=size, interpolation="bicubic"),
                dict(type="RandomErasing", prob=0.25, mode="pixel", count=1),
                dict(type="PackImages"),
            ]
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=size, resize=219), dict(type="PackImages")]
    )
)
