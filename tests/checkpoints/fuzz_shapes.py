"""Files of every family whose tensors have other shapes, types, names or values: used, or refused in one sentence, by every verb.

    python -m tests.checkpoints.fuzz_shapes --count 1000

The bytes of these files are whole (fuzz.py damages them): it is the families' code that meets what it does not expect.
"""

from __future__ import annotations

import argparse
import collections
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mimeval.checkpoints import convert, inspect, load_backbone, read_state
from mimeval.checkpoints.export import export
from mimeval.checkpoints.formats import family_named, recognise
from mimeval.checkpoints.screen import render
from mimeval.checkpoints.targets import laid_out
from mimeval.errors import UserError
from tests.checkpoints.families import FILES, family_content
from tests.checkpoints.made_files import MAKERS

SIDES = (0, 1, 2, 3, 5, 16, 32, 64, 96, 4096)
TARGETS = ("mimeval", "mae", "timm", "hf", "mmpretrain", "mmseg", "beit", "vitdet")


def whole_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The content of a file of each family, by its name; no tensor is mapped from a file that is written over."""
    found = {name: family_content(name) for name in FILES}
    for maker in MAKERS:
        place = folder / maker.__name__
        place.mkdir()
        checkpoint = read_state(maker(place).path)
        state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
        found[maker.__name__] = {checkpoint.container: state} if checkpoint.container else state
    return found


def mutated(content: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The same file with one to three tensors of its largest state dict changed."""
    tensors = [name for name, value in content.items() if isinstance(value, torch.Tensor)]
    key = (
        None if tensors else max(content, key=lambda name: len(content[name]) if isinstance(content[name], dict) else 0)
    )
    state = dict(content if key is None else content[key])
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(list(state))
        if not isinstance(state[name], torch.Tensor):
            continue
        tensor: torch.Tensor = state.pop(name)
        kind = draw.random()
        if kind < 0.2:
            pass
        elif kind < 0.55:
            shape = [draw.choice(SIDES) for _ in range(draw.randint(0, 4))]
            # One number in memory, and as many in the file as a small one holds.
            shape = shape if torch.Size(shape).numel() <= 1 << 20 else shape[:1]
            state[name] = torch.zeros(shape)
        elif kind < 0.65:
            state[name] = tensor.to(torch.int64)
        elif kind < 0.75:
            state[name + draw.choice([".x", "_y", "0"])] = tensor
        elif kind < 0.82:
            state[name] = torch.full_like(tensor.float(), draw.choice([float("nan"), 3e38, -1e-40]))
        elif kind < 0.9:
            state[name] = tensor.flatten()
        else:
            state[name] = tensor.transpose(0, -1).contiguous() if tensor.dim() > 1 else tensor[:-1]
        if not state:
            break
    return state if key is None else {**content, key: state}


def uses(path: Path, folder: Path, draw: random.Random) -> list[Callable[[], object]]:
    """What the verbs do with a file."""
    to, found = draw.choice(TARGETS), folder / "out.safetensors"

    def write() -> None:
        known = recognise(read_state(path))
        laid_out(path, family_named("mimeval").name, known, known.own, known.architecture)

    return [
        lambda: render(inspect(path)),
        lambda: load_backbone(path),
        lambda: convert(path, found, to, force=True),
        lambda: convert(path, found, image_size=64, force=True),
        lambda: convert(path, found, patch_size=8, force=True),
        lambda: export(path, folder / "timm", "timm-hub-folder", force=True),
        write,
    ]


def run(count: int, seed: int = 0) -> collections.Counter:
    """`count` files, each used in every way. Raises whatever is neither a success nor a UserError of one line."""
    outcomes: collections.Counter = collections.Counter()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = whole_files(folder)
        for number in range(count):
            family = draw.choice(list(files))
            path = folder / "x.pth"
            torch.save(mutated(files[family], draw), path)
            for use in uses(path, folder, draw):
                try:
                    use()
                    outcomes["success"] += 1
                except UserError as error:
                    assert "\n" not in str(error), f"file {number} of seed {seed}, {family}: {error}"
                    outcomes["refused"] += 1
                except Exception as error:
                    raise AssertionError(f"file {number} of seed {seed}, {family}: {error!r}") from error
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    outcomes = run(args.count, args.seed)
    print(
        f"{args.count:,} files, {sum(outcomes.values()):,} uses in {time.monotonic() - start:.0f} s: {dict(outcomes)}"
    )


if __name__ == "__main__":
    main()
