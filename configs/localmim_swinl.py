"""LocalMIM, Swin-L with windows of 14, 800 epochs on ImageNet-1K (2303.05251).

COMMAND   tools/dist_train.sh configs/localmim_swinl.py 8 --data DATA
hardware  8 GPUs x 128 images x 4 accumulated = batch 4096; published: 1.6 V100 hours an epoch
sources   official Swin/README.md and Swin/models_mim.py (mim_swin_large_patch4_win14); the rest as localmim_swinb.py
expected  fine-tuning 85.6 % top-1 (published, README.md, with wrong places as encoding.misplaced=True gives them; not run here)
"""

_base_ = ["./localmim_swinb.py"]

model = dict(backbone=dict(arch="large", window_size=14))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(accumulative_counts=4)
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=800, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=800)
