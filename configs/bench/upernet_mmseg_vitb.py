"""The work of transfer/upernet_vitb.py with mmseg's own MAE backbone: only for measuring what a step costs.

COMMAND   mimeval bench step configs/transfer/upernet_vitb.py configs/bench/upernet_mmseg_vitb.py --batch 2 --precision fp32,bf16
hardware  any
sources   mmseg's configs/mae: MAE backbone with relative position bias, layer scale 1.0, taps 3, 5, 7, 11, drop path 0.1
expected  docs/results.md, reproduced there
"""

_base_ = ["../transfer/upernet_vitb.py"]

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmseg.MAE",
        img_size=(512, 512),
        patch_size=16,
        embed_dims=768,
        num_layers=12,
        num_heads=12,
        mlp_ratio=4,
        init_values=1.0,
        drop_path_rate=0.1,
        out_indices=[3, 5, 7, 11],
    ),
)
