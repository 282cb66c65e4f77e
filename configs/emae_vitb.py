"""EMAE, ViT-B/16, 300 epochs on ImageNet-1K (2302.14431): parallel disjoint masks and self-consistency.

COMMAND   tools/dist_train.sh configs/emae_vitb.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step, K = 4 parts each; cost not measured here
sources   parts: 1/(1 - 0.75); loss: docs/methods.md; optimiser and data: MAE's, since the paper's own are not known here
expected  fine-tuning above MAE's 83.6 % of 1600 epochs (published, abstract of v1; not run here)
"""

_base_ = ["./mae_vitb.py"]

model = dict(
    masking=dict(_delete_=True, type="ParallelMasking", parts=4),
    regularizers=[dict(type="SelfConsistency", weight=1.0, normaliser="overlap")],
)
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=300, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=300)
