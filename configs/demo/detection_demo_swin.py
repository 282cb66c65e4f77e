"""Mask R-CNN on the demo set with a Swin: a norm on each stage, an FPN at strides 2, 4 and 8, small heads.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks detection --data data/demo --out work_dirs/demo_swin
hardware  CPU, 4 min a row on one thread of a busy machine
sources   recipe: detection_demo.py; backbone and neck: transfer/maskrcnn_swinb.py
expected  box AP 52.5 at random, 48.2 after simmim_swin_demo.py (reproduced here, one seed; nothing was tuned)
"""

_base_ = ["./detection_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="maskrcnn_demo_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="maps", tap_norm=True),
    neck=dict(_delete_=True, type="FPN", in_channels=[32, 64], out_channels=_base_.channels, num_outs=3),
)
