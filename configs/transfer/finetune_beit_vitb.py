"""BEiT's fine-tuning of a ViT-B on ImageNet: a relative position bias in every block, no absolute positions.

COMMAND   tools/dist_train.sh configs/transfer/finetune_beit_vitb.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images = batch 1024, 100 epochs; cost not measured here
sources   official BEiT (microsoft/unilm, beit/) get_started_for_image_classification.md (lr 4e-3, warm-up 20 of 100 epochs,
          weight decay 0.05, layer decay 0.65, drop path 0.1, Mixup 0.8, CutMix 1.0), run_class_finetuning.py (min lr 1e-6, layer scale
          0.1, smoothing 0.1, erasing 0.25; timm leaves its colour jitter 0.4 out beside RandAugment), utils.py (the table of
          rates) and datasets.py: normalised with mean and std 0.5, as the released pt22k checkpoints; for one pre-trained with
          --imagenet_default_mean_and_std take mean and std from _base_/classification.py
expected  83.7 top-1 for BEiT-B of ImageNet-22k, beit_base_patch16_224_pt22k (published, README.md; not run here)
"""

_base_ = ["./finetune_vitb.py"]

protocol = dict(name="finetune_beit")
half = [127.5, 127.5, 127.5]
model = dict(
    data_preprocessor=dict(mean=half, std=half),
    backbone=dict(
        _delete_=True,
        type="mimeval.VisionTransformer",
        arch="base",
        out_type="mean",
        pos_embed="none",
        rel_pos="bias",
        init_values=0.1,
        k_bias=False,
        table_resample="geometric",
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/beit_base_patch16_224_pt22k.pth"),
    ),
)
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="RandAugment", config="rand-m9-mstd0.5-inc1", size=224, mean=half, interpolation="bicubic"),
                dict(type="RandomErasing", prob=0.25, mode="pixel", count=1),
                dict(type="PackImages"),
            ]
        )
    ),
)
base_lr = 1e-3
optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [dict(type="WarmupCosine", warmup=20, min_lr=1e-6, full_warmup=True, convert_to_iter_based=True)]
