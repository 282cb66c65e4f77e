"""ClusterMIM with pixel tokens on the demo set.

COMMAND   mimeval train configs/demo/clustermim_demo.py --data data/demo (after the command in configs/demo/tokens_demo.py)
hardware  CPU; 1 min 59 s measured on a busy core of an AMD EPYC
sources   emae_demo.py's data, backbone and rate with ClusterMIM's slots
expected  cross-entropy from 3.7 (ln 32 = 3.5) to 1.5 (reproduced here)
"""

_base_ = ["./emae_demo.py", "../_base_/demo_tokens.py"]

model = dict(
    masking=dict(_delete_=True, type="RandomMasking", ratio=0.75),
    targets=[dict(type="ClusterTarget", tokenizer=_base_.tokenizer, centres="work_dirs/tokens_demo.safetensors")],
    loss=dict(_delete_=True, type="MaskedCrossEntropy"),
    regularizers=[],
)
custom_hooks = []
