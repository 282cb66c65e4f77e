"""LocalMIM's fine-tuning of a ViT-B on ImageNet, from 1600 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_vitb.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images = batch 1024, 100 epochs; cost not measured here
sources   official LocalMIM ViT/README.md (lr 2e-3, warm-up 20, min lr 1e-5, layer decay 0.65, drop path 0.1) and
          ViT/run_finetune.py; the rest as finetune_vitb.py. Its ViT/util/datasets.py hands timm the bicubic mode as an enum:
          timm up to 0.4 takes that for bilinear, later ones stop, so training images were resized bilinearly, and are here
expected  84.0 top-1 for LocalMIM ViT-B HOG 1600 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_vitb.py"]

protocol = dict(name="finetune_localmim_1600ep")
model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/vit_base_localmim_hog_1600ep_pretrain.pth")))
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bilinear"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="RandAugment", config="rand-m9-mstd0.5-inc1", size=224, interpolation="bilinear"),
                dict(type="RandomErasing", prob=0.25, mode="pixel", count=1),
                dict(type="PackImages"),
            ]
        )
    ),
)
optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [dict(type="WarmupCosine", warmup=20, min_lr=1e-5, convert_to_iter_based=True)]
