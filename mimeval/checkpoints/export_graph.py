"""A backbone as a graph that runs without this package: ONNX, TorchScript, or torch.export's program."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.files import write_whole

from .load import load_backbone

GRAPHS = {"onnx": 1e-4, "torchscript": 1e-5, "torch-export": 1e-5}
LARGEST_BATCH = 4096
LARGEST_ONNX = (2 << 30) - (16 << 20)  # protobuf's limit, less the graph


class Features(nn.Module):
    """images [B, 3, H, W], normalised -> the backbone's last output alone."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)[-1]


def write_graph(
    src: str | os.PathLike,
    target: Path,
    kind: str,
    image_size: int | None,
    force: bool,
    trust_pickle: bool,
    switches: Sequence[str],
    num_heads: int | None,
) -> list[str]:
    """Write one of GRAPHS and compare it on another batch than it was made with; sentences for the report. UserError: see export."""
    if target.is_dir() or (target.exists() and not force):
        raise UserError(f"{target} exists; choose another name{'' if target.is_dir() else ' or give --force'}.")
    if kind == "onnx" and (
        lacking := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    ):
        raise UserError(
            f"Exporting to ONNX needs {' and '.join(lacking)}; install with `pip install {' '.join(lacking)}`."
        )
    settings: dict[str, Any] = {} if num_heads is None else {"num_heads": num_heads}
    settings |= {} if image_size is None else {"img_size": image_size}
    backbone = load_backbone(src, trust_pickle=trust_pickle, switches=switches, **settings)
    model = Features(backbone).eval().requires_grad_(False)
    if kind == "onnx" and sum(parameter.nbytes for parameter in model.parameters()) > LARGEST_ONNX:
        raise UserError(f"{src}: an ONNX file holds 2 GB at most, and its weights are more; take torch-export.")
    rows, columns = backbone.grid  # type: ignore[misc]
    patch: Any = backbone.patch_size
    size = (int(rows) * int(patch), int(columns) * int(patch))
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = kind != "onnx"  # type: ignore[assignment]
    checks: list[str] = []

    def save(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = WRITERS[kind](model, images[:2], path)
        if run is None:
            checks.append("not compared: onnxruntime is not installed")
            return
        with torch.no_grad():
            difference = (run(images) - expected).abs().max().item()
        if not difference <= GRAPHS[kind]:
            raise UserError(
                f"{target} was not written: as {kind} its features differ by {difference:.1e} from those of {src}, allowed are "
                f"{GRAPHS[kind]:g}; take another format."
            )
        checks.append(f"features of 3 images differ by at most {difference:.1e} from the backbone's")

    try:
        write_whole(target, save)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; nothing was left there.") from error
    shape = " x ".join(map(str, expected.shape[1:]))
    return [f"images [B, 3, {size[0]}, {size[1]}], normalised, any B -> {shape} for each", *checks]


def _onnx(model: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor] | None:
    torch.onnx.export(
        model,
        (images,),
        str(path),
        dynamo=True,
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}},
        external_data=False,
        verbose=False,
    )
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def _torchscript(model: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        torch.jit.trace(model, images, check_trace=False).save(str(path))
    return torch.jit.load(str(path))


def _torch_export(model: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}}
    program = torch.export.export(model, (images,), dynamic_shapes=shapes)
    with path.open("wb") as stream:  # by name it wants the ending .pt2
        torch.export.save(program, stream)
    with path.open("rb") as stream:
        return torch.export.load(stream).module()


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path], Callable[[Tensor], Tensor] | None]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "torch-export": _torch_export,
}
