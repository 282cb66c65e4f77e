"""Bad files of every kind, and what is said of each.

    python -m tests.checkpoints.refusals

prints the table that docs/checkpoints.md has between its markers; test_refusals.py holds the two together.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from mimeval.checkpoints import load_backbone
from mimeval.cli.main import sentence
from mimeval.errors import UserError
from tests.checkpoints.test_inspect import plain_vit
from tests.checkpoints.test_reading import BOMBS, LFS, entry, shards, tensor_pickle, tensors_file, zip_of


class Calls:
    def __reduce__(self):
        return os.system, ("true",)


def whole(**changes: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save({"model": {**plain_vit(), **changes}}, stream)
    return stream.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _code(path: Path) -> None:
    torch.save({"model": plain_vit(), "hook": Calls()}, path)


def _index(path: Path) -> None:
    path.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))


def _lost_shard(path: Path) -> None:
    shards(path.parent).rename(path)
    (path.parent / "two.bin").unlink()


def _archive(path: Path) -> None:
    zipfile.ZipFile(path, "w").writestr("readme.txt", "hello")


def _quantised(path: Path) -> None:
    state = plain_vit()
    torch.save(
        {"model": {name: tensor.to(torch.int8) if tensor.ndim == 2 else tensor for name, tensor in state.items()}}, path
    )


ABSURD = dict(shape=(1 << 20, 1 << 20), stride=(1 << 20, 1))
# what the file is: its name, and how it is made
FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": ("gone.pth", lambda path: None),
    "an empty file": ("empty.pth", lambda path: path.touch()),
    "a folder": ("folder.pth", lambda path: path.mkdir()),
    "an HTML page": ("page.pth", lambda path: path.write_text("<!DOCTYPE html><html>not found</html>")),
    "a Git LFS pointer": ("pointer.pth", lambda path: path.write_text(LFS)),
    "text": ("notes.pth", lambda path: path.write_text("no checkpoint")),
    "a gzip archive": ("x.pth.gz", lambda path: path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(20))),
    "another zip archive": ("other.pth", _archive),
    "a program of TorchScript": (
        "script.pt", lambda path: torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
    ),
    "a pickle that calls something": ("code.pth", _code),
    "half a file": ("half.pth", lambda path: path.write_bytes(whole()[:60_000])),
    "one wrong bit in the weights": ("bit.pth", lambda path: path.write_bytes(flipped(whole(), 60_000))),
    "a zip bomb": ("bomb.pth", lambda path: zip_of(path, tensor_pickle(), {"data/0": bytes(10_000_000)}, compress=True)),
    "an absurd shape": ("absurd.pth", lambda path: zip_of(path, tensor_pickle(**ABSURD), {"data/0": bytes(16)})),
    "a negative shape": ("negative.pth", lambda path: zip_of(path, tensor_pickle(shape=(-2, 2)), {"data/0": bytes(16)})),
    "100,000 nested lists": ("deep.pth", lambda path: zip_of(path, BOMBS["deep"][0])),
    "a pickle without an end": ("endless.pkl", lambda path: path.write_bytes(pickle.dumps({"model": {}}, 2)[:-1])),
    "a header longer than the file": (
        "header.safetensors", lambda path: tensors_file(path, {"w": entry()}, length=1 << 40)
    ),
    "offsets out of range": ("offsets.safetensors", lambda path: tensors_file(path, {"w": entry(offsets=(0, 2400))})),
    "offsets that overlap": ("overlap.safetensors", lambda path: tensors_file(path, {"v": entry(), "w": entry()})),
    "an unknown dtype": ("dtype.safetensors", lambda path: tensors_file(path, {"w": entry(dtype="F31")})),
    "an index that leads elsewhere": ("model.safetensors.index.json", _index),
    "an index without a shard": ("model.safetensors.index.json", _lost_shard),
    "a list": ("list.pth", lambda path: torch.save([1, 2], path)),
    "no tensors": ("epoch.pth", lambda path: torch.save({"epoch": 3}, path)),
    "sparse tensors": ("sparse.pth", lambda path: torch.save({"model": {"w": torch.eye(3).to_sparse()}}, path)),
    "integers for weights": ("int8.pth", _quantised),
    "NaN": ("nan.pth", lambda path: path.write_bytes(whole(cls_token=torch.full((1, 1, 32), float("nan"))))),
    "half an encoder": (
        "part.pth",
        lambda path: torch.save({"model": {k: v for k, v in plain_vit().items() if "blocks.1.attn" not in k}}, path),
    ),
    "another kind of network": ("resnet.pth", lambda path: torch.save({"conv1.weight": torch.ones(8, 3, 3, 3)}, path)),
}  # fmt: skip


def refusals() -> dict[str, str]:
    """What `load_backbone` says of each file, in which it is called by its name alone."""
    said = {}
    for what, (name, make) in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            make(path)
            try:
                load_backbone(path, num_heads=2)
            except UserError as error:
                text = sentence(error).replace(f"{folder}/", "")
                # The list of families grows.
                said[what] = re.sub(r"(known are) .*, (and the names)", r"\1 (all of them), \2", text)
            else:
                raise AssertionError(f"{what} was read")
    return said


def table() -> str:
    rows = [f"| {what} | {text.replace('|', chr(92) + '|')} |" for what, text in refusals().items()]
    return "\n".join(["| the file is | what is said |", "| --- | --- |", *rows])


if __name__ == "__main__":
    print(table())
