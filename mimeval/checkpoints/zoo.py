"""The list of public checkpoints (zoo.yaml): what is known of each, and whether a file is the one that is listed."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from mimeval.errors import UserError

# What may be the name of an entry and of the file that it becomes: one path component, nothing that a shell or a path minds.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
KEYS = {"family", "architecture", "address", "page", "source", "sha256", "md5", "file", "figures", "note"}
FIGURE = {"task", "value", "unit", "source"}


@dataclass(frozen=True)
class Entry:
    """A public checkpoint. sha256 in full, md5 as many digits as its source states; None where it states none."""

    name: str
    family: str
    source: str
    architecture: str = ""
    address: str | None = None
    page: str | None = None
    """Where it is offered, if it has no address that a program can read."""
    sha256: str | None = None
    md5: str | None = None
    file: str = ""
    """The name under which it is kept."""
    figures: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def zoo_file() -> Path:
    """The shipped list: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "checkpoints" / "zoo.yaml"
    return inside if inside.is_file() else package.parent / "checkpoints" / "zoo.yaml"


def read_zoo(path: str | os.PathLike | None = None) -> dict[str, Entry]:
    """The entries of a list by name. UserError, which names the entry, for what is no such list."""
    file = zoo_file() if path is None else Path(path).expanduser()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"zoo {file}: expected a list of checkpoints, found: {error.strerror}; give another.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"zoo {file}: expected YAML, found other text ({reason}); correct it.") from None
    if not isinstance(content, dict):
        raise UserError(f"zoo {file}: expected entries by name, found a {type(content).__name__}; correct it.")
    return {str(name): _entry(file, str(name), facts) for name, facts in content.items()}


def _entry(file: Path, name: str, facts: Any) -> Entry:
    def wrong(what: str) -> UserError:
        return UserError(f"zoo {file}, entry {name[:80]!r}: {what}; correct it.")

    if not PLAIN.fullmatch(name):
        raise wrong("expected a plain name of letters, digits, '.', '_' and '-'")
    if not isinstance(facts, dict) or not {"family", "source"} <= facts.keys() or facts.keys() - KEYS:
        odd = sorted(map(str, facts.keys() - KEYS)) if isinstance(facts, dict) else []
        raise wrong(f"expected family, source and address or page, found {', '.join(odd) or 'others'}")
    for key in KEYS - {"figures"}:
        if facts.get(key) is not None and not isinstance(facts[key], str):
            raise wrong(f"expected text for {key}, found {str(facts[key])[:40]} (quote it)")
    address, page = facts.get("address"), facts.get("page")
    if (address is None) == (page is None):
        raise wrong("expected an address or a page, found both or none")
    if not re.match(r"https?://[^\s]+$", address or page or ""):
        raise wrong(f"expected an http or https address, found {str(address or page)[:120]!r}")
    if facts.get("sha256") and not re.fullmatch(r"[0-9a-f]{64}", facts["sha256"]):
        raise wrong("expected 64 hexadecimal digits for sha256")
    if facts.get("md5") and not re.fullmatch(r"[0-9a-f]{6,32}", facts["md5"]):
        raise wrong("expected the first 6 to 32 hexadecimal digits for md5")
    target = facts.get("file") or unquote(urlsplit(address).path.rpartition("/")[2] if address else f"{name}.pth")
    if not PLAIN.fullmatch(target):
        raise wrong(f"expected a plain name for its file, found {target[:80]!r}")
    figures = facts.get("figures") or []
    if not isinstance(figures, list) or any(
        not isinstance(figure, dict) or figure.keys() != FIGURE for figure in figures
    ):
        raise wrong("expected figures with task, value, unit and source")
    return Entry(**{**facts, "name": name, "file": target, "figures": figures})


def find(zoo: dict[str, Entry], name: str) -> Entry:
    """The entry of this name. UserError, with names that are near, if there is none."""
    if name not in zoo:
        near = difflib.get_close_matches(name, zoo, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "`mimeval zoo list` shows all"
        raise UserError(f"The zoo has no checkpoint {name!r}; {hint}")
    return zoo[name]


def check_sums(entry: Entry, file: Path) -> str:
    """A sentence on how far a file is the one that is listed. UserError if it is another."""
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                for digest in digests.values():
                    digest.update(chunk)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    found = {kind: digest.hexdigest() for kind, digest in digests.items()}
    for kind, stated in (("sha256", entry.sha256), ("md5", entry.md5)):
        if stated is not None and not found[kind].startswith(stated):
            raise UserError(
                f"{file} is not {entry.name}: expected {kind} {stated}, found {found[kind]}; delete it and download it again."
            )
    if entry.sha256:
        return f"its sha256 is the one that {entry.source} states"
    if entry.md5:
        return f"its md5 begins with {entry.md5}, as {entry.source} states; sha256 {found['sha256']}"
    return f"no checksum is published for it; sha256 {found['sha256']}"
