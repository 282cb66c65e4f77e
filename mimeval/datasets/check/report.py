"""A data folder looked at as a whole: every file decoded once, every annotation held against its image.

`check` finds what is wrong; `mimeval data check` shows it. The layouts' own rules are in imagenet, coco and ade20k,
what is said about a single file in files.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimeval.datasets.check.ade20k import ADE20K
from mimeval.datasets.check.coco import COCO
from mimeval.datasets.check.files import Finding
from mimeval.datasets.check.imagenet import ImageNet
from mimeval.datasets.check.pool import spread
from mimeval.datasets.paths import layout_root
from mimeval.errors import UserError

# By kind, in the order of a report. A run ends or learns something wrong over a fault; a remark is good to know.
FAULTS = {
    "missing": "named by a list, an annotation or a link, but not there",
    "empty": "0 bytes",
    "unreadable": "no image of a format that is read, or damaged",
    "truncated": "cut short",
    "cmyk": "CMYK, which readers turn into different RGB",
    "extension": "the name's extension is not that of the content",
    "class-folders": "class folders of one split only, or with names outside the class list",
    "no-images": "classes or categories without an image",
    "misplaced": "the name says another class or split than the folder",
    "two-classes": "the same content in two classes",
    "two-splits": "the same content in two splits",
    "annotations": "annotation files that cannot be read, or entries without what they need",
    "unlisted": "images without annotation or class",
    "duplicate-id": "an id or a file name twice",
    "unknown-id": "annotations of images that are not listed",
    "category": "annotations of categories that are not listed, or categories that differ between splits",
    "box": "boxes outside the image or without area",
    "mask": "polygons or run lengths that cannot be decoded",
    "size": "the annotation's size is not the image's",
    "label-map": "label maps that are not one channel of labels",
    "label-value": "labels of no class",
}
REMARKS = {
    "split": "a split is not there",
    "duplicate": "the same content twice in one class or split",
    "orientation": "turned by EXIF, which readers of annotations may leave out",
    "depth": "more than 8 bits per channel, of which 8 are read",
    "no-instances": "images without an annotated object",
    "no-masks": "annotations with boxes only",
    "ignored": "files that are no images by their extension",
}
KINDS = {**FAULTS, **REMARKS}
LAYOUTS: dict[str, Callable[..., Any]] = {"imagenet": ImageNet, "coco": COCO, "ade20k": ADE20K}


@dataclass
class Report:
    """What was found. `findings` are sorted by kind and file; `accepted` kinds count as remarks."""

    path: str
    layout: str
    images: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    accepted: Sequence[str] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind, in the order of KINDS."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def is_fault(self, kind: str) -> bool:
        """Whether a finding of this kind makes the data unfit."""
        return kind in FAULTS and kind not in self.accepted

    @property
    def faults(self) -> int:
        """Number of findings that are faults."""
        return sum(count for kind, count in self.counts.items() if self.is_fault(kind))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": self.path,
            "layout": self.layout,
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images / max(self.seconds, 1e-9), 1),
            "faults": self.faults,
            "remarks": len(self.findings) - self.faults,
            "counts": self.counts,
            "findings": [
                {
                    "severity": "fault" if self.is_fault(finding.kind) else "remark",
                    "kind": finding.kind,
                    "file": finding.file,
                    "detail": finding.detail,
                }
                for finding in self.findings
            ],
        }


def check(
    path: str | Path,
    layout: str,
    jobs: int = 1,
    progress: Callable[[int, int, int], None] | None = None,
    classes: int | None = None,
    accepted: Iterable[str] = (),
) -> Report:
    """Look at every file of a layout in `jobs` processes.

    Args:
        path: the layout's folder, a root that contains it, or a data.yaml.
        progress: called with (images done, images in all, findings so far).
        classes: number of classes of ADE20K label maps; by default the lines of its classes.txt, or else 150.
        accepted: kinds of faults that are known and count as remarks.

    Raises:
        UserError: the layout is not there, `accepted` has an unknown kind, or `classes` is given for another layout.
    """
    accepted = tuple(accepted)
    for kind in accepted:
        if kind not in KINDS:
            raise UserError(f"--accept {kind}: expected kinds of findings ({', '.join(FAULTS)}), found '{kind}'")
    if classes is not None and layout != "ade20k":
        raise UserError(f"--classes {classes}: expected --layout ade20k with it, found {layout}; leave it out")
    root = layout_root(path, layout)
    start = time.monotonic()
    found = LAYOUTS[layout](root, **({"classes": classes} if classes is not None else {}))
    report = Report(str(path), layout, accepted=accepted)
    findings = found.findings
    total = len(found)
    for result in spread(found.tasks(), jobs):
        findings += result.findings
        found.take(result)
        report.images += 1
        if progress is not None:
            progress(report.images, total, len(findings))
    found.finish()
    order = {kind: place for place, kind in enumerate(KINDS)}
    report.findings = sorted(findings, key=lambda finding: (order[finding.kind], finding.file, finding.detail))
    report.seconds = time.monotonic() - start
    return report
