"""The README.md of an exported folder: what the model is, where it came from, how to load it, what it was measured at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mimeval import __version__
from mimeval.errors import UserError

from .formats import Recognised
from .formats.architecture import Swin
from .state import sha256

LOADING = {
    "timm": """import timm

model = timm.create_model("local-dir:{name}", pretrained=True).eval()
features = model.forward_features(images)""",
    "hf": """from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("{name}").eval()
images = AutoImageProcessor.from_pretrained("{name}")(picture, return_tensors="pt")
features = model(**images).last_hidden_state""",
}
LIBRARIES = {"timm": "timm", "hf": "transformers"}


def model_card(
    report: Any,
    found: Recognised,
    normalisation: tuple[list[float], list[float]],
    group: str,
    name: str,
    results: str | os.PathLike | None,
) -> str:
    """Markdown with the header that the hubs read. results: a run's folder or results.jsonl. UserError if it has no figure of the file."""
    digest = sha256(report.source)
    height, width = report.architecture.image_size
    facts = [
        ("architecture", str(report.architecture)),
        ("images", f"{height} x {width}, values 0..1 less {normalisation[0]}, divided by {normalisation[1]}"),
        ("layout", report.to),
        ("converted from", f"`{Path(report.source).name}`, family {report.family}, sha256 `{digest}`"),
        ("by", f"mimeval {__version__}"),
        ("transformations", "; ".join(report.transformations) or "none"),
        ("checked", report.verification or "read back equal"),
        *_training(found),
    ]
    lines = [
        "---",
        f"library_name: {LIBRARIES[group]}",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        "- mimeval",
        "---",
        "",
    ]
    lines += [f"# {name}", "", "| | |", "| --- | --- |", *(f"| {key} | {_cell(value)} |" for key, value in facts), ""]
    lines += ["```python", LOADING[group].format(name=name), "```", ""]
    if group == "hf" and not isinstance(report.architecture, Swin):
        lines += ["The pooler of transformers' class is not trained: use `last_hidden_state`.", ""]
    if results is not None:
        lines += ["## Figures", "", *_figures(results, report.source, digest), ""]
    return "\n".join(lines)


def _training(found: Recognised) -> list[tuple[str, str]]:
    from .state import Checkpoint

    noted = Checkpoint(Path(), {"": {}}, found.meta).training or {}
    shown = {key: noted[key] for key in ("config", "images_seen", "seed", "git") if noted.get(key) is not None}
    return [("pre-training", ", ".join(f"{key} {value}" for key, value in shown.items()))] if shown else []


def _figures(results: str | os.PathLike, source: str, digest: str) -> list[str]:
    from mimeval.transfer.results import RESULTS, read

    path = Path(results).expanduser()
    folder = path.parent if path.name == RESULTS else path
    if not (folder / RESULTS).is_file():
        raise UserError(f"{path}: expected a transfer run's folder with {RESULTS}, found none; leave --results out.")
    records = [record for record in read(folder) if record.checkpoint and record.checkpoint.get("sha256") == digest]
    if not records:
        raise UserError(
            f"{folder / RESULTS}: none of its records is of {source} (sha256 {digest[:12]}...); give the run that measured this file."
        )
    rows = ["| task | figure | protocol | seed | selection | note |", "| --- | --- | --- | --- | --- | --- |"]
    for record in records:
        cells = (
            record.task,
            f"{record.metric} {record.value:.2f}",
            f"{record.protocol} v{record.protocol_version}",
            str(record.seed),
            record.selection,
            record.note,
        )
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return [*rows, "", "Measured by `mimeval transfer` on the file named above."]


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
