"""EMAE's masks, LocalMIM's decoders, ClusterMIM's targets at each scale and MTO, on a small real set. EXPERIMENTAL.

COMMAND   mimeval train configs/examples/combined_sign_digits.py --data DATA (after the commands in configs/examples/tokens_sign_digits{,_2,_8}.py)
hardware  CPU, one thread; 3 min 54 s of it, measured on an AMD EPYC
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training images; slots:
          combined_vitb.py; sizes and epochs set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["./localmim_sign_digits.py", "../_base_/demo_tokens.py", "../_base_/mto.py"]

# Side in pixels of each scale's cells, and their centres.
tokens = {2: "tokens_sign_digits_2", 4: "tokens_sign_digits", 8: "tokens_sign_digits_8"}
model = dict(
    masking=dict(_delete_=True, type="ParallelMasking", parts=4),
    targets=[
        dict(
            type="ClusterTarget",
            tokenizer=dict(_base_.tokenizer, vectors=dict(type="PixelPatches", patch_size=side)),
            centres=f"work_dirs/{name}.safetensors",
        )
        for side, name in tokens.items()
    ],
    loss=dict(_delete_=True, type="MaskedCrossEntropy"),
    regularizers=[dict(type="SelfConsistency", weight=0.1, normaliser="overlap", of="probabilities")],
    mask_token=_base_.mask_token,
)
train_cfg = dict(max_epochs=12)
