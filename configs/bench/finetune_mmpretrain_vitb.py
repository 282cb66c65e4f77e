"""The work of transfer/finetune_vitb.py with mmpretrain's own ViT: only for measuring what a step costs.

COMMAND   mimeval bench step configs/transfer/finetune_vitb.py configs/bench/finetune_mmpretrain_vitb.py --batch 2 --precision fp32,bf16
hardware  any
sources   mmpretrain's VisionTransformer, arch base, mean of the patches with its norm, drop path 0.1
expected  docs/results.md, reproduced there
"""

_base_ = ["../transfer/finetune_vitb.py"]

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.VisionTransformer",
        arch="base",
        img_size=224,
        patch_size=16,
        out_type="avg_featmap",
        final_norm=False,
        drop_path_rate=0.1,
    ),
)
