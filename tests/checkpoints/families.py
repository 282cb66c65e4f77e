"""Files as each family writes them, made from golden tensors, and the features that official code computes from them."""

from pathlib import Path

import numpy as np
import torch

from tests.golden import golden

# Where golden files hold the inner state dict only: the key that the family's files keep it under.
CONTAINER = {name: "model" for name in ("mae", "simmim", "localmim", "clustermim")}


def tensors(name: str, prefix: str) -> dict[str, torch.Tensor]:
    """Arrays of a golden file below a prefix, as tensors."""
    arrays, _ = golden(name)
    return {
        key.removeprefix(prefix): torch.from_numpy(np.asarray(arrays[key])) for key in arrays if key.startswith(prefix)
    }


def family_file(name: str, folder: Path, container: str | None = None) -> Path:
    """The checkpoint of a golden file, `<name>.pth` in that folder: each `/` below `state/` is a level of its dictionary."""
    content: dict = {}
    for key, tensor in tensors(name, "state/").items():
        *levels, last = key.split("/")
        inner = content
        for level in levels:
            inner = inner.setdefault(level, {})
        inner[last] = tensor
    container = CONTAINER.get(name.split("_")[0]) if container is None else container
    path = folder / f"{name}.pth"
    torch.save({container: content, "epoch": 3} if container else content, path)
    return path
