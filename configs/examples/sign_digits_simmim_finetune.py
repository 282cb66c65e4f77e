"""Fine-tuning on photographs of hands that show digits, of a SimMIM ViT: the bias of relative positions in every block.

COMMAND   mimeval transfer CKPT --suite configs/suites/sign_digits_simmim.py --tasks finetune --data DATA --out work_dirs/sign_digits_simmim
hardware  CPU
sources   sign_digits_finetune.py; backbone: transfer/finetune_simmim_vitb.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./sign_digits_finetune.py", "../_base_/small_simmim.py"]

protocol = dict(name="finetune_sign_digits_simmim")
model = dict(backbone=dict(_base_.simmim, rel_pos="bias"))
