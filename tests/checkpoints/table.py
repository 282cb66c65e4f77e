"""The table of families in docs/checkpoints.md, measured here: python -m tests.checkpoints.table [--print]."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.formats import FAMILIES, families_of, recognise
from mimeval.checkpoints.formats.base import Family
from mimeval.cli.main import main as mimeval
from mimeval.errors import UserError
from tests.checkpoints import made_files, test_families, test_libraries, test_official_features
from tests.checkpoints.families import FILES, family_file, heads, tensors
from tests.checkpoints.made_files import MAKERS, difference, numbered
from tests.documents import put_between
from tests.golden import golden

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
BEGIN, END = "<!-- families -->", "<!-- /families -->"
COLUMNS = ("family", "`convert`", "features verified with", "compared", "largest error", "there and back")
# Repositories where the golden file's description names none.
REPOSITORIES = {
    "mae": "facebookresearch/mae",
    "clustermim": "PKU-ML/ClusterMIM",
    "simmim": "microsoft/SimMIM",
    "localmim": "LocalMIM of huawei-noah/Efficient-Computing",
    "localmim_swin": "LocalMIM of huawei-noah/Efficient-Computing",
    "maskfeat": "MaskFeat of facebookresearch/SlowFast",
}


@dataclass
class Row:
    """What was compared for one family. error: absolute, the largest of all; back: whether its files come back bit for bit."""

    family: str
    source: str
    compared: list[str]
    error: float = 0.0
    back: bool | None = None


def repository(family: str, name: str) -> str:
    """Of the official code that computed a golden file's features."""
    said = str(golden(name)[1].get("repository", REPOSITORIES.get(family, "")))
    return said.split(" at ")[0].split(",")[0].split(":")[0]


def versions(family: str) -> str:
    """The library's class that made a file, with its version."""
    library = next(one for one in FAMILIES if one.name == family).package or "timm"
    return f"{library} {importlib.import_module(library).__version__}"


@contextlib.contextmanager
def recorded() -> Iterator[list[float]]:
    """The largest absolute error of each comparison that a test makes."""
    errors: list[float] = []
    real, relative = torch.testing.assert_close, test_families.close

    def assert_close(ours: Tensor, theirs: Tensor, **limits: float) -> None:
        errors.append((ours - theirs).abs().max().item())
        real(ours, theirs, **limits)

    def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
        errors.append((ours - theirs).abs().max().item())
        relative(ours, theirs, tolerance)

    with (
        mock.patch.object(torch.testing, "assert_close", assert_close),
        mock.patch.object(test_families, "close", close),
    ):
        yield errors


def there_and_back(path: Path, family: str, folder: Path, given: dict[str, int]) -> bool:
    """Whether the command line gives every tensor of a file back, by way of our own format."""
    said = [text for key, value in given.items() if key == "num_heads" for text in ("--num-heads", str(value))]
    steps = (
        [str(path), str(folder / "ours.safetensors"), *said],
        [str(folder / "ours.safetensors"), str(folder / "back.pth"), "--to", family],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        for step in steps:
            if mimeval(["convert", *step]) != 0:
                return False
    before, after = (recognise(read_state(file)).state for file in (path, folder / "back.pth"))
    return before.keys() == after.keys() and all(
        torch.equal(before[name].view_as(after[name]), after[name]) for name in before
    )


def mae_latent(name: str, path: Path) -> float:
    """Of MAE's and ClusterMIM's encoders on the visible patches of the official mask."""
    inputs, outputs = tensors(name, "in/"), tensors(name, "out/")
    backbone = load_backbone(path, num_heads=4)
    count, width = outputs["latent"].shape[1] - 1, outputs["latent"].shape[2]
    with torch.inference_mode():
        patches, _ = backbone.embed_patches(inputs["images"])
        keep = inputs["noise"].argsort(1)[:, :count, None].expand(-1, -1, width)
        return difference(backbone.encode(patches.gather(1, keep)), outputs["latent"])


def mae_tuned(folder: Path) -> float:
    """Of MAE's fine-tuned classifiers, pooled and with the class token."""
    errors = []
    for case, kind in (("pool/", "mean"), ("cls/", "cls")):
        torch.save({"model": tensors("mae_finetune", f"{case}state/")}, folder / "tuned.pth")
        backbone = load_backbone(folder / "tuned.pth", num_heads=4, out_type=kind)
        with torch.inference_mode():
            errors.append(
                difference(
                    backbone(tensors("mae_finetune", "in/")["images"]),
                    tensors("mae_finetune", f"{case}out/")["features"],
                )
            )
    return max(errors)


def clustermim(folder: Path) -> tuple[Path, float]:
    """ClusterMIM's file, a tokenizer beside the encoder."""
    state = tensors("clustermim", "state/")
    tokenizer = {
        f"tokenizer.{name}": torch.ones_like(tensor) for name, tensor in state.items() if name.startswith("blocks.")
    }
    torch.save({"model": state | tokenizer}, folder / "clustermim.pth")
    return folder / "clustermim.pth", mae_latent("clustermim", folder / "clustermim.pth")


def deit(folder: Path) -> tuple[Path, Callable, dict[str, int]]:
    """DeiT's file is timm's model below `model`."""
    made = made_files.timm_vit(folder)
    torch.save({"model": read_state(made.path).state}, folder / "deit.pth")
    return folder / "deit.pth", made.features, {"num_heads": 4}


TESTS: dict[str, tuple[Callable, tuple]] = {
    "simmim_vit": (test_families.test_simmim_gives_official_features, ("vit",)),
    "simmim_swin": (test_families.test_simmim_gives_official_features, ("swin",)),
    "localmim_vit": (test_families.test_localmim_gives_official_features_of_the_last_tap, ()),
    "localmim_swin": (test_families.test_localmim_swin_goes_into_our_model_whole, ()),
    "family_maskfeat": (test_families.test_maskfeat_gives_official_features, ()),
}
WHAT = {
    "mae_pretrain": "latent of visible patches",
    "simmim_vit": "masked ViT",
    "simmim_swin": "masked Swin",
    "localmim_vit": "last tap",
    "localmim_swin": "all taps of visible patches",
    "family_maskfeat": "tokens, masked tokens, predictions",
}


def measured(folder: Path) -> dict[str, Row]:
    """A row for each family, everything computed anew. Raises AssertionError where one is off by more than its tests allow."""
    rows: dict[str, Row] = {}

    def note(family: str, source: str, what: str, error: float, back: bool | None = None) -> None:
        row = rows.setdefault(family, Row(family, source, []))
        row.compared += [what] if what not in row.compared else []
        row.source = row.source if source in row.source else f"{row.source}, {source}"
        row.error = max(row.error, error)
        row.back = back if row.back is None else row.back and (back is not False)

    for name, (family, _, back_to) in FILES.items():
        path = family_file(name, new(folder))
        back = None if back_to is None else there_and_back(path, back_to, path.parent, heads(name))
        source = repository(family, name)
        if name in test_official_features.TOLERANCE:
            ours = path.parent / "ours.safetensors"
            if not ours.exists():
                there_and_back(path, "mimeval", path.parent, heads(name))
            with recorded() as errors:
                test_official_features.test_tokens_at_every_size_through_the_familys_own_resizing((name, path, ours))
            sizes = sum(
                f"tokens{size}" in tensors(name, "out/") and f"images{size}" in tensors(name, "in/")
                for size in test_official_features.SIZES
            )
            note(family, source, f"tokens at {sizes} size{'s' if sizes > 1 else ''}", max(errors), back)
        elif name == "mae_pretrain":
            note(family, source, WHAT[name], mae_latent(name, path), back)
            note(family, source, "fine-tuned features", mae_tuned(path.parent))
        elif name in TESTS:
            test, arguments = TESTS[name]
            with recorded() as errors:
                test(new(folder), *arguments)
            note(family, source, WHAT[name], max(errors), back)
    path, error = clustermim(new(folder))
    note("clustermim", REPOSITORIES["clustermim"], WHAT["mae_pretrain"], error)
    note("mvit", "facebookresearch/SlowFast", "refused by name", 0.0)
    for name, (family, container, settings) in test_libraries.GOLDEN.items():
        path = family_file(name, new(folder), container)
        inputs, outputs = tensors(name, "in/"), tensors(name, "out/")
        backbone = load_backbone(path, **settings)
        with torch.inference_mode():
            ours, large = backbone(inputs["images"]), backbone(inputs["images_large"])
        if "tokens_large" in outputs and family.startswith("vitdet"):
            error = max(difference(ours, outputs["tokens"]), difference(large, outputs["tokens_large"]))
        else:
            taps = [outputs[f"tap_{tap}"] for tap in range(4)]
            error = max(difference(ours, taps), difference([large[-1].flatten(2).mT], outputs["tokens_large"][:, 1:]))
        note(family, repository(family, name), "maps at 2 sizes", error, there_and_back(path, family, path.parent, {}))
    for maker, family in MAKERS.items():
        made = maker(new(folder))
        backbone = load_backbone(made.path, **made.settings)
        sizes = [size for size in (made.image, made.other) if size is not None]
        errors = []
        for size in sizes:
            with torch.inference_mode():
                errors.append(difference(backbone(numbered(2, *size)), made.features(numbered(2, *size))))
        writable = next(one for one in FAMILIES if one.name == family).writable
        back = there_and_back(made.path, family, made.path.parent, made.settings) if writable else None
        note(
            family, versions(family), f"features at {len(sizes)} size{'s' if len(sizes) > 1 else ''}", max(errors), back
        )
    path, features, given = deit(new(folder))
    images = numbered(2, 32, 32)
    assert [family.name for family, _ in families_of(read_state(path))] == ["deit"]
    with torch.inference_mode():
        note(
            "deit",
            versions("timm_vit"),
            "features at 1 size",
            difference(load_backbone(path, **given)(images), features(images)),
        )
    note("mimeval", "the file that it was converted from", "tokens at 1 size", *own(new(folder)))
    return rows


def own(folder: Path) -> tuple[float, bool]:
    """Our own format, converted onto itself, against the file that it was made from."""
    path, again = family_file("mae_pretrain", folder), new(folder)
    there_and_back(path, "mae", folder, {"num_heads": 4})
    back = there_and_back(folder / "ours.safetensors", "mimeval", again, {})
    images = numbered(2, 32, 32)
    with torch.inference_mode():
        return difference(load_backbone(again / "back.pth")(images), load_backbone(path, num_heads=4)(images)), back


def new(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def directions(family: Family) -> str:
    """Whether a family's files are read, and in which layout they are written."""
    return "in and out" if family.writable else f"in, out as `{family.written_as}`" if family.written_as else "in"


def table(rows: dict[str, Row]) -> str:
    """Markdown, a row for each family in the order of formats.FAMILIES. Raises KeyError for a family that was not measured."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for family in FAMILIES:
        row = rows[family.name]
        refused = row.compared == ["refused by name"]
        direction = "refused" if refused else directions(family)
        back = (
            ""
            if row.back is None or not (family.writable or family.written_as)
            else "bit-exact"
            if row.back
            else "NOT EQUAL"
        )
        error = "" if refused else f"{row.error:.1e}" if row.error else "0"
        lines.append((f"`{family.name}`", direction, row.source, "; ".join(row.compared), error, back))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure, and write the table between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave the document as it is")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = measured(Path(folder))
        except (UserError, pytest.skip.Exception) as error:
            raise SystemExit(f"the table was not written: {error}") from None
    if args.print:
        print(table(rows))
    else:
        put_between(DOCUMENT, BEGIN, END, table(rows))


if __name__ == "__main__":
    main()
