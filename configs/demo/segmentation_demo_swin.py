"""UperNet on the demo set with a Swin: a norm on each of its two stages, small heads, whole images.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks segmentation --data data/demo --out work_dirs/demo_swin
hardware  CPU, 3 min a row on one thread of a busy machine
sources   recipe: segmentation_demo.py; backbone: transfer/upernet_swinb.py
expected  mIoU 30.0 at random, 27.7 after simmim_swin_demo.py (reproduced here, one seed; nothing was tuned)
"""

_base_ = ["./segmentation_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="upernet_demo_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="maps", tap_norm=True),
    neck=None,
    decode_head=dict(in_channels=[32, 64], in_index=[0, 1]),
    auxiliary_head=dict(in_channels=64, in_index=1),
)
