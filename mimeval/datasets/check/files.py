"""What one file shows: decoded as a whole, its kind held against its name, its annotations against its size. Runs in workers."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from mimeval.datasets.check.instances import check_instances
from mimeval.datasets.transforms import FORMATS, why_unreadable

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_BITS_PER_SAMPLE = 258
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
_PNG_END, _PNG_TAIL = b"IEND\xaeB`\x82", 1 << 16
_LABEL_MODES = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L", "I;16N")
_MOST_SHOWN = 8


class Finding(NamedTuple):
    """One fault or remark: its kind (check.KINDS), the file, and what about it."""

    kind: str
    file: str
    detail: str


@dataclass(frozen=True)
class Task:
    """One image to look at. `place`: its number in the layout; size: (width, height) by the annotations; instances: COCO's.

    `eyes_on_pixels`: its annotations are of pixels, so that it matters how it is turned.
    """

    place: int
    file: str
    size: tuple[int, int] | None = None
    annotations: str = ""
    instances: list[dict[str, Any]] = field(default_factory=list)
    label_map: str | None = None
    classes: int = 0
    eyes_on_pixels: bool = False


class Result(NamedTuple):
    """`digest`: 8 bytes of the content's hash; `labels`: which of 256 labels occur, None without a label map."""

    place: int
    digest: int | None
    findings: list[Finding]
    labels: np.ndarray | None = None


class Picture(NamedTuple):
    """A decoded file: its image, its width and height once upright, its EXIF orientation, the most bits of a channel."""

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    bits: int


def examine(task: Task) -> Result:
    """Everything there is to say about one image and its annotations."""
    findings: list[Finding] = []
    picture, digest = _decode(task.file, findings)
    if picture is not None:
        if picture.image.mode == "CMYK":
            findings.append(Finding("cmyk", task.file, f"{picture.image.format} in CMYK"))
        if picture.image.mode == "F" or (picture.image.mode == "I" and picture.image.format != "PPM"):
            findings.append(Finding("unreadable", task.file, f"{picture.image.format} of 32 bits per pixel"))
        elif picture.bits > 8:
            findings.append(Finding("depth", task.file, f"{picture.image.format} of {picture.bits} bits per channel"))
        if task.eyes_on_pixels and picture.orientation not in (0, 1):
            findings.append(
                Finding(
                    "orientation", task.file, f"EXIF orientation {picture.orientation}; upright {_by(picture.size)}"
                )
            )
        if task.size is not None and task.size != picture.size:
            stored = f", {_by(picture.image.size)} before EXIF turns it" if picture.orientation in _TURNED else ""
            findings.append(
                Finding(
                    "size",
                    task.file,
                    f"{_by(task.size)} in {task.annotations}, the image is {_by(picture.size)}{stored}",
                )
            )
    size = task.size or (picture.size if picture is not None else None)
    findings += [
        Finding(kind, task.annotations, f"annotation {number} of {os.path.basename(task.file)}: {detail}")
        for kind, number, detail in check_instances(task.instances, size)
    ]
    labels = None
    if task.label_map is not None:
        labels = _label_map(task, picture.size if picture is not None else None, findings)
    return Result(task.place, digest, findings, labels)


def _decode(file: str, findings: list[Finding]) -> tuple[Picture | None, int | None]:
    """The picture, if it can be decoded, and 8 bytes of the hash of the content, if there is one."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for ever
            findings.append(Finding("unreadable", file, "no regular file"))
            return None, None
        with open(file, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        findings.append(Finding("missing", file, "a link to nothing" if os.path.islink(file) else "no such file"))
        return None, None
    except OSError as error:
        findings.append(Finding("unreadable", file, error.strerror or str(error)))
        return None, None
    if not content:
        findings.append(Finding("empty", file, "0 bytes"))
        return None, None
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, EXIF data and the like
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            image.load()
        if image.format == "PNG" and _PNG_END not in content[-_PNG_TAIL:]:
            raise OSError("image file is truncated: its end is missing")  # which Pillow does without and cv2 does not
    except Exception as error:  # decoders raise anything at all over a damaged file
        reason = why_unreadable(error, "<_io.BytesIO")
        known = content.startswith(_MAGIC)
        if isinstance(error, UnidentifiedImageError):
            begins = content[:12].decode("ascii", "replace").encode("unicode_escape").decode()
            reason = f"no format that is read, begins with '{begins}'"
        cut = "truncat" in reason.lower() or (known and isinstance(error, UnidentifiedImageError | EOFError))
        findings.append(Finding("truncated" if cut else "unreadable", file, f"{reason}; {len(content):,} bytes"))
        return None, digest
    suffix = os.path.splitext(file)[1].lower()
    expected = Image.registered_extensions().get(suffix)
    kind = "JPEG" if image.format == "MPO" else image.format
    if expected is not None and expected != kind:
        findings.append(Finding("extension", file, f"{image.format} named {suffix}"))
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF data that cannot be read turn nothing
        orientation = 1
    size = image.size[::-1] if orientation in _TURNED else image.size
    return Picture(image, (size[0], size[1]), orientation, _bits(image, content)), digest


def _bits(image: Image.Image, content: bytes) -> int:
    if image.mode.startswith("I"):
        return 16
    if image.format == "PNG":
        return content[24]  # of the header, whatever Pillow made of it
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    return max(bits if isinstance(bits, tuple) else (bits,))


def _label_map(task: Task, size: tuple[int, int] | None, findings: list[Finding]) -> np.ndarray | None:
    file = str(task.label_map)
    picture, _ = _decode(file, findings)
    if picture is None:
        return None
    image = picture.image
    if image.mode not in _LABEL_MODES:
        findings.append(
            Finding("label-map", file, f"{image.mode} with {len(image.getbands())} channels instead of labels")
        )
        return None
    if image.format in ("JPEG", "MPO"):
        findings.append(Finding("label-map", file, "JPEG, which does not keep labels as they were"))
    if size is not None and image.size != size:
        findings.append(
            Finding("size", file, f"{_by(image.size)}, the image {os.path.basename(task.file)} is {_by(size)}")
        )
    values = np.unique(np.asarray(image))
    allowed = (values <= task.classes) & (values >= 0) | (values == 255)
    if not allowed.all():
        wrong = values[~allowed]
        shown = ", ".join(str(int(value)) for value in wrong[:_MOST_SHOWN]) + (
            ", ..." if len(wrong) > _MOST_SHOWN else ""
        )
        findings.append(Finding("label-value", file, f"labels {shown}; expected 0 to {task.classes}, or 255"))
    present = np.zeros(256, bool)
    present[values[allowed].astype(int)] = True
    return present


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
