"""UperNet on road scenes with a small Swin: crops of 160 pixels, a norm on each stage, eleven classes and void.

COMMAND   mimeval transfer CKPT --suite configs/suites/camvid.py --data DATA --out work_dirs/camvid_swin
hardware  CPU
sources   camvid_upernet.py; backbone: _base_/small_swin.py and transfer/upernet_swinb.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./camvid_upernet.py", "../_base_/small_swin.py"]

protocol = dict(name="upernet_camvid_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="maps", tap_norm=True),
    neck=None,
    decode_head=dict(in_channels=[32, 64, 128, 256]),
    auxiliary_head=dict(in_channels=128),
)
