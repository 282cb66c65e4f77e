"""ClusterMIM with pixel tokens, ViT-B/16, 200 epochs on ImageNet-1K (2407.09087).

COMMAND   tools/dist_train.sh configs/clustermim_pixel_vitb.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; cost not measured here
sources   official main_pretrain.py and models_mae.py: MAE with a class for each centre; 200 epochs: a review of the paper; batch and
          rate are MAE's, since the paper's own are not known here; centres: configs/tokenizers/pixel.py
expected  not run here; the paper's figure for pixel tokens could not be read
"""

_base_ = ["./_base_/clustermim.py", "./_base_/tokens_pixel.py"]

model = dict(
    targets=[dict(type="ClusterTarget", tokenizer=_base_.tokenizer, centres="checkpoints/tokens_pixel.safetensors")]
)
