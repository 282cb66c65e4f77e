"""Files as each family writes them, made from golden tensors, and the features that official code computes from them."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden import golden

# golden file: family, heads (where the shapes do not tell), format in which it is written back, None where there is none
FILES: dict[str, tuple[str, int | None, str | None]] = {
    "mae_pretrain": ("mae", 4, "mae"),
    "simmim_vit": ("simmim", None, "simmim"),
    "simmim_swin": ("simmim", None, "simmim"),
    "localmim_vit": ("localmim", 4, None),
    "localmim_swin": ("localmim_swin", None, None),
    "localmim_swin_hog": ("localmim_swin", None, None),
    "family_maskfeat": ("maskfeat", 2, None),
    "family_dino": ("dino", 4, None),
    "family_dino_full": ("dino", 2, None),
    "family_dinov2": ("dinov2", 2, None),
    "family_dinov2_reg": ("dinov2", 3, None),
    "family_dinov2_swiglu": ("dinov2", 4, None),
    "family_dinov2_train": ("dinov2", 2, None),
    "family_dinov3": ("dinov3", None, None),
    "family_dinov3_swiglu": ("dinov3", None, None),
    "family_ibot": ("ibot", 4, None),
    "family_ibot_full": ("ibot", 3, None),
    "family_mocov3": ("mocov3", 4, None),
    "family_ijepa": ("ijepa", 4, None),
    "family_beit": ("beit", None, "beit"),
    "family_beit_finetune": ("beit", None, "beit"),
    "family_beit2": ("beit2", None, "beit"),
    "family_data2vec_vision": ("data2vec", None, "data2vec"),
    "family_cae": ("cae", 4, "cae"),
    "family_eva02": ("eva02", None, None),
    "family_eva02_preln": ("eva02", None, None),
}
# Where golden files hold the inner state dict only: the key that the family's files keep it under.
MODEL = ("beit", "beit_finetune", "beit2", "data2vec_vision", "cae", "eva02", "eva02_preln")
CONTAINER = {name: "model" for name in ("mae", "simmim", "localmim", "clustermim")}
CONTAINER |= {f"family_{name}": "model" for name in MODEL} | {"family_maskfeat": "model_state"}
OPTIMIZER = {"state": {0: {"step": 7, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
TRAINING = {"optimizer": OPTIMIZER, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
# What else a file of the family holds, from the golden files' descriptions.
BESIDE: dict[str, dict[str, Any]] = {
    "family_dino_full": TRAINING | {"dino_loss": {"center": torch.ones(1, 20)}, "fp16_scaler": {"scale": 2.0}},
    "family_ibot_full": TRAINING | {"ibot_loss": {"center": torch.ones(1, 20), "center2": torch.ones(1, 1, 20)}},
    "family_mocov3": {"epoch": 3, "arch": "vit_small", "optimizer": OPTIMIZER, "scaler": {"scale": 2.0}},
    "family_ijepa": {
        "opt": OPTIMIZER,
        "scaler": {},
        "epoch": 3,
        "loss": 0.5,
        "batch_size": 8,
        "world_size": 1,
        "lr": 0.1,
    },
    **{f"family_{name}": TRAINING | {"scaler": {"scale": 2.0}} for name in MODEL},
}


def tensors(name: str, prefix: str) -> dict[str, torch.Tensor]:
    """Arrays of a golden file below a prefix, as tensors."""
    arrays, _ = golden(name)
    return {
        key.removeprefix(prefix): torch.from_numpy(np.asarray(arrays[key])) for key in arrays if key.startswith(prefix)
    }


def heads(name: str) -> dict[str, int]:
    """`num_heads` for load_backbone and convert, where a golden file's shapes do not tell them."""
    number = FILES[name][1]
    return {} if number is None else {"num_heads": number}


def family_content(name: str, container: str | None = None) -> dict[str, Any]:
    """What a checkpoint of a golden file's family holds: each `/` below `state/` is a level of its dictionary."""
    content: dict = {}
    for key, tensor in tensors(name, "state/").items():
        *levels, last = key.split("/")
        inner = content
        for level in levels:
            inner = inner.setdefault(level, {})
        inner[last] = tensor
    container = CONTAINER.get(name, CONTAINER.get(name.split("_")[0])) if container is None else container
    beside = BESIDE.get(name, {"epoch": 3} if container else {})
    return {container: content, **beside} if container else {**content, **beside}


def family_file(name: str, folder: Path, container: str | None = None) -> Path:
    """The checkpoint of a golden file, `<name>.pth` in that folder."""
    path = folder / f"{name}.pth"
    torch.save(family_content(name, container), path)
    return path
