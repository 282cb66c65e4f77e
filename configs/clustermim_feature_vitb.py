"""ClusterMIM with tokens of DINO's features, ViT-B/16, 200 epochs on ImageNet-1K (2407.09087).

COMMAND   tools/dist_train.sh configs/clustermim_feature_vitb.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step, and a ViT-S forward pass each; cost not measured here
sources   as clustermim_pixel_vitb.py; centres and DINO's checkpoint: configs/tokenizers/feature.py
expected  fine-tuning 83.8 %, linear 67.4 % top-1 (published, the paper's table 3; not run here)
"""

_base_ = ["./_base_/clustermim.py", "./_base_/tokens_feature.py"]

model = dict(
    targets=[dict(type="ClusterTarget", tokenizer=_base_.tokenizer, centres="checkpoints/tokens_feature.safetensors")]
)
