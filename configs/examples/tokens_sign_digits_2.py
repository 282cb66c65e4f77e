"""Pixel tokens of a small real set: 32 centres of its patches of 2 px.

COMMAND   mimeval tokenize fit configs/examples/tokens_sign_digits_2.py --out work_dirs/tokens_sign_digits_2.safetensors --data DATA
hardware  CPU
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits; settings: demo/tokens_demo.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./tokens_sign_digits.py"]

tokenizer = dict(vectors=dict(patch_size=2))
