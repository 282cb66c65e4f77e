"""Pixel tokens of a small real set: 32 centres of its patches of 4 px.

COMMAND   mimeval tokenize fit configs/examples/tokens_sign_digits.py --out work_dirs/tokens_sign_digits.safetensors --data DATA
hardware  CPU
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits; settings: demo/tokens_demo.py
expected  docs/results.md, reproduced there
"""

_base_ = ["../demo/tokens_demo.py"]

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            folder="sign_digits/train",
            pipeline=[dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=32), dict(type="PackImages")],
        )
    )
)
