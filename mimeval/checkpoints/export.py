"""A checkpoint for those who do not have this package: a folder that timm or transformers loads, or a graph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimeval.errors import UserError

from .export_folder import write_folder
from .export_graph import GRAPHS, write_graph

FOLDERS = {"timm-hub-folder": "timm", "hf-folder": "hf"}
SUFFIXES = {"onnx": ".onnx", "torchscript": ".ts", "torch-export": ".pt2"}
KINDS = (*GRAPHS, *FOLDERS)


@dataclass
class ExportReport:
    """What was written, and what was compared: `checks` are sentences."""

    source: str
    target: str
    kind: str
    checks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.target}: {self.kind} of {self.source}", *self.checks])


def export(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    to: str,
    image_size: int | None = None,
    force: bool = False,
    trust_pickle: bool = False,
    switches: Sequence[str] = (),
    num_heads: int | None = None,
    results: str | os.PathLike | None = None,
) -> ExportReport:
    """Write a checkpoint of any known family as `to`, one of KINDS, and check it.

    dst: a folder for `...-folder`, else a file that ends in .onnx, .ts or .pt2. image_size: pixels; positions are resampled to it.
    results: a transfer run's folder or results.jsonl, whose figures of this checkpoint go into the folder's model card. Others: see
    `convert`. Raises UserError if the source is not known, if the target exists (without force), if it cannot hold the encoder, or if
    what was written gives other features (more than 1e-4 apart for ONNX, 1e-5 for others); nothing is left then.
    """
    target = Path(dst).expanduser()
    if to not in KINDS:
        raise UserError(f"There is no export {to!r}; choose one of {', '.join(KINDS)}.")
    if to in SUFFIXES and target.suffix != SUFFIXES[to]:
        raise UserError(
            f"{target}: expected a file that ends in {SUFFIXES[to]} for {to}, found {target.suffix or 'no ending'}."
        )
    if results is not None and to not in FOLDERS:
        raise UserError(f"--results goes into a model card, which {to} does not have; leave it out.")
    if to in FOLDERS:
        reading: dict[str, Any] = dict(trust_pickle=trust_pickle, switches=switches)
        checks = write_folder(src, target, FOLDERS[to], force, results, image_size, num_heads, **reading)
    else:
        checks = write_graph(src, target, to, image_size, force, trust_pickle, switches, num_heads)
    return ExportReport(str(src), str(target), to, checks)
