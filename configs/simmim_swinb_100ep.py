"""SimMIM, Swin-B at 192 pixels, 100 epochs on ImageNet-1K (2111.09886).

COMMAND   tools/dist_train.sh configs/simmim_swinb_100ep.py 8 --data DATA
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048; cost not measured here
sources   official configs/swin_base__100ep/simmim_pretrain__swin_base__img192_window6__100ep.yaml: rate 2e-4 per 512 images, cosine
          from 1e-6 to 1e-5; the rest as simmim_swinb.py
expected  fine-tuning 82.8 % top-1 at 192 pixels, 83.5 % at 224 (published, README.md; not run here)
"""

_base_ = ["./simmim_swinb.py"]

base_lr = 1e-4
param_scheduler = [dict(type="TimmCosine", warmup=10, start_ratio=5e-3, min_ratio=0.05, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=100)
