"""SimMIM, Swin-L at 192 pixels, 800 epochs on ImageNet-1K (2111.09886).

COMMAND   tools/dist_train.sh configs/simmim_swinl.py 8 --data DATA
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048; cost not measured here
sources   official configs/swin_large__800ep/simmim_pretrain__swin_large__img192_window12__800ep.yaml; the rest as simmim_swinb.py
expected  fine-tuning 85.4 % top-1 at 224 pixels (published, README.md; not run here)
"""

_base_ = ["./simmim_swinb.py"]

model = dict(backbone=dict(arch="large", window_size=12))
