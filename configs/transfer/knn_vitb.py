"""k-NN with a ViT-B on ImageNet: DINO's weighted vote over the class token after the final norm; nothing is trained.

COMMAND   mimeval transfer CKPT --suite configs/suites/vitb.py --tasks knn --data DATA --out work_dirs/vitb
hardware  one GPU, one forward pass over 1.28 M images; cost not measured here
sources   k 20, T 0.07 and the vote: DINO (2104.14294, official eval_knn.py), which also reads training images at the
          evaluation crop; tokens as in the linear probe (MAE reads the class token)
expected  35.6 for MAE ViT-B 1600 ep, best of k 5..200 and T .07, .1, .2 (published by EP, ICLR 2026; not run here);
          k, T and tokens move it by many points
"""

_base_ = ["../_base_/classification.py"]

protocol = dict(task="knn", name="knn_dino", k=20, temperature=0.07)
model = dict(
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        out_type="tokens",
        frozen=True,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    neck=dict(type="mimeval.ProbeNeck", tokens="cls"),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="ResizeCenterCrop", size=224, resize=256),
                dict(type="PackImages"),
            ]
        )
    )
)
