"""LocalMIM's fine-tuning of a ViT-B on ImageNet, from 100 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_vitb_100ep.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images = batch 1024, 100 epochs; cost not measured here
sources   official LocalMIM ViT/README.md: lr 4e-3, layer decay 0.75, min lr 1e-6; the rest as finetune_localmim_vitb.py
expected  no figure in the official README (not run here)
"""

_base_ = ["./finetune_localmim_vitb.py"]

protocol = dict(name="finetune_localmim_100ep")
model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/vit_base_localmim_hog_100ep_pretrain.pth")))
base_lr = 1e-3
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.75))
param_scheduler = [dict(type="WarmupCosine", warmup=20, min_lr=1e-6, convert_to_iter_based=True)]
