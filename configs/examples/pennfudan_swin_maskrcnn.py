"""Mask R-CNN on street photographs with pedestrians with a small Swin: a norm on each stage, an FPN at strides 4 to 32.

COMMAND   mimeval transfer CKPT --suite configs/suites/pennfudan.py --data DATA --out work_dirs/pennfudan_swin
hardware  CPU
sources   pennfudan_maskrcnn.py; backbone and neck: _base_/small_swin.py and transfer/maskrcnn_swinb.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./pennfudan_maskrcnn.py", "../_base_/small_swin.py"]

protocol = dict(name="maskrcnn_pennfudan_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="maps", tap_norm=True),
    neck=dict(_delete_=True, type="FPN", in_channels=[32, 64, 128, 256], out_channels=_base_.channels, num_outs=4),
)
