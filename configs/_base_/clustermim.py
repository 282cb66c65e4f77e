"""ClusterMIM, ViT-B/16, without its targets: MAE with a class for each centre, 200 epochs (2407.09087; official main_pretrain.py)."""

_base_ = ["../mae_vitb.py"]

model = dict(loss=dict(type="MaskedCrossEntropy", label_smoothing=0.0))
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=200, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=200)
# Tokens cannot be shown.
custom_hooks = []
