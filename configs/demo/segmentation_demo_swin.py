"""UperNet on the demo set with a Swin: a norm on each of its two stages, small heads, whole images.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks segmentation --data data/demo --out work_dirs/demo_swin
hardware  CPU, HARDWARE
sources   recipe: segmentation_demo.py; backbone: transfer/upernet_swinb.py
expected  no figure (not run here)
"""

_base_ = ["./segmentation_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="upernet_demo_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="maps", tap_norm=True),
    neck=None,
    decode_head=dict(in_channels=[32, 64], in_index=[0, 1]),
    auxiliary_head=dict(in_channels=64, in_index=1),
)
