"""Combination of all four, ViT-B/16: EMAE's masks, LocalMIM's decoders, ClusterMIM's targets at each scale, MTO. EXPERIMENTAL.

COMMAND   tools/dist_train.sh configs/combined_vitb.py 8 --data DATA (after the commands in configs/tokenizers/pixel{,_4,_8,_32}.py)
hardware  8 GPUs x 256 images = batch 2048, K = 4 parts each; cost not measured here
sources   slots: emae_vitb.py, localmim_vitb.py, clustermim_pixel_vitb.py (K = 50 at every scale: assumed), _base_/mto.py (assumed);
          rate, batch and data: LocalMIM's; epochs: EMAE's; agreement of parts on classes by total variation is ours
expected  no figure is known here (not run)
"""

_base_ = ["./localmim_vitb.py", "./_base_/mto.py"]

# Side in pixels of each scale's cells, and their centres.
tokens = {4: "tokens_pixel_4", 8: "tokens_pixel_8", 16: "tokens_pixel", 32: "tokens_pixel_32"}
model = dict(
    masking=dict(_delete_=True, type="ParallelMasking", parts=4),
    targets=[
        dict(
            type="ClusterTarget",
            tokenizer=dict(
                type="ClusterTokenizer",
                vectors=dict(type="PixelPatches", patch_size=side),
                num_centres=50,
                distance="euclid",
            ),
            centres=f"checkpoints/{name}.safetensors",
        )
        for side, name in tokens.items()
    ],
    loss=dict(_delete_=True, type="MaskedCrossEntropy", label_smoothing=0.0),
    regularizers=[dict(type="SelfConsistency", weight=1.0, normaliser="overlap", of="probabilities")],
    mask_token=_base_.mask_token,
)
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=300, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=300)
