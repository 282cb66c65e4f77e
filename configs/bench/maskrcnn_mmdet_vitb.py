"""The work of transfer/maskrcnn_vitdet_vitb.py with the mm libraries' own backbone and neck: only for measuring what a step costs.

COMMAND   mimeval bench step configs/transfer/maskrcnn_vitdet_vitb.py configs/bench/maskrcnn_mmdet_vitb.py --batch 1 --precision fp32,bf16
hardware  any
sources   mmdet has no plain ViT in its package: mmpretrain's ViTSAM (windows of 14, global blocks 2, 5, 8, 11, decomposed relative
          positions; a level from each global block), mmseg's Feature2Pyramid (its norms are BatchNorm), mmdet's
          FPN (it adds levels up) and heads as in our config
expected  docs/results.md, reproduced there
"""

_base_ = ["../transfer/maskrcnn_vitdet_vitb.py"]

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.ViTSAM",
        arch="base",
        img_size=1024,
        patch_size=16,
        out_channels=0,
        out_indices=(2, 5, 8, 11),
        out_type="raw",
        use_rel_pos=True,
        window_size=14,
        drop_path_rate=0.1,
    ),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5]),
        dict(type="FPN", in_channels=[768] * 4, out_channels=256, num_outs=5),
    ],
)
