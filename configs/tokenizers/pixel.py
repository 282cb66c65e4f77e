"""ClusterMIM's pixel tokens: 50 centres of 16-px patches, mini-batch K-means on ImageNet.

COMMAND   mimeval tokenize fit configs/tokenizers/pixel.py --out checkpoints/tokens_pixel.safetensors --data DATA
hardware  CPU; reads every image 101 times (100 epochs and a count); cost not measured here
sources   official main_kmeans_cpu_patch.py: K, 256 images a batch, 100 epochs, random_state 0, order of images, crop; its data
          are ImageNet-100
expected  not run here; the paper's TCAS could not be read
"""

_base_ = ["../_base_/tokenizer.py", "../_base_/tokens_pixel.py"]
