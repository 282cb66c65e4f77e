"""Pixel tokens of the demo set, for clustermim_demo.py.

COMMAND   mimeval data demo data/demo && mimeval tokenize fit configs/demo/tokens_demo.py --out work_dirs/tokens_demo.safetensors --data data/demo
hardware  CPU; 16 s of a core of an AMD EPYC
sources   chosen for the demo: as many centres as a small decoder tells apart in minutes, images in random order
expected  TCAS 0.908 on the 6,000 training images (reproduced here)
"""

_base_ = ["../_base_/tokenizer.py", "../_base_/demo_tokens.py"]

train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    drop_last=False,
    sampler=dict(shuffle=True),
    dataset=dict(dataset=dict(pipeline=[dict(type="LoadRGB"), dict(type="PackImages")])),
)
epochs = 3
