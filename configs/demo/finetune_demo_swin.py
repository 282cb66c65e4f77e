"""Fine-tuning on the demo set with a Swin: mean of the last stage's tokens after the norm, layer decay through Swin's own blocks.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks finetune --data data/demo --out work_dirs/demo_swin
hardware  CPU, 5 min a row on one thread of a busy machine
sources   recipe: finetune_demo.py; norm and groups: transfer/finetune_simmim_swinb.py
expected  33.5 at random, 37.7 after simmim_swin_demo.py (reproduced here, one seed; nothing was tuned)
"""

_base_ = ["./finetune_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="finetune_demo_swin")
width = 64  # of the last stage
model = dict(backbone=dict(_base_.swin, _delete_=True, out_type="mean"), head=dict(in_channels=width))
