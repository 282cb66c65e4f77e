"""LocalMIM, ViT-L/16, 800 epochs on ImageNet-1K (2303.05251).

COMMAND   tools/dist_train.sh configs/localmim_vitl.py 8 --data DATA
hardware  8 GPUs x 128 images x 4 accumulated = batch 4096; published: 1.0 V100 hours an epoch
sources   official ViT/README.md (18 bins and hog_bias here); the rest as localmim_vitb.py
expected  fine-tuning 85.8 % top-1 (published, README.md; not run here)
"""

_base_ = ["./localmim_vitb.py"]

model = dict(
    backbone=dict(arch="large"),
    targets=[dict(type="HOGTarget", cell=cell, nbins=18, bias=True) for cell in (4, 8, 16, 32)],
)
train_dataloader = dict(batch_size=128)
base_lr = 1.5e-4
optim_wrapper = dict(accumulative_counts=4)
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=800, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=800)
