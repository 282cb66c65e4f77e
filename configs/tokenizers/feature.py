"""ClusterMIM's feature tokens: 1000 centres of DINO ViT-S/16's patch tokens, mini-batch K-means on ImageNet.

COMMAND   mimeval tokenize fit configs/tokenizers/feature.py --out checkpoints/tokens_feature.safetensors --data DATA
hardware  one GPU for the backbone, CPU for K-means; reads every image 101 times (100 epochs and a count); cost not measured here
sources   official main_preprocess.py and main_kmeans_cpu.py: 128 images a batch, 100 epochs, random_state 0, order of images, crop;
          K: main_pretrain.py's --center_path (main_kmeans_cpu.py has 100); its data are ImageNet-100; its DINO code is missing,
          so that the final norm is our choice
expected  not run here; the paper's TCAS could not be read
"""

_base_ = ["../_base_/tokenizer.py", "../_base_/tokens_feature.py"]

train_dataloader = dict(batch_size=128)
