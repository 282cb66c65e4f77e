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
DIGITS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True)
class Entry:
    """A public checkpoint. sha256 and md5: as many of the first digits as its source states, or all; None where it states none."""

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

    def checksums(self) -> dict[str, str]:
        """The stated digits by their kind."""
        return {kind: digits for kind in DIGITS if (digits := getattr(self, kind))}


def shown(kind: str, digits: str) -> str:
    """A checksum for people: `md5 8cad7c...` if only its first digits are known."""
    return f"{kind} {digits}{'' if len(digits) == DIGITS[kind] else '...'}"


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
    for kind, least in (("sha256", 8), ("md5", 6)):
        if facts.get(kind) and not re.fullmatch(rf"[0-9a-f]{{{least},{DIGITS[kind]}}}", facts[kind]):
            raise wrong(f"expected the first {least} to {DIGITS[kind]} hexadecimal digits for {kind}, in lower case")
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
    stated = entry.checksums()
    for kind, digits in stated.items():
        if not found[kind].startswith(digits):
            raise UserError(
                f"{file} is not {entry.name}: expected {shown(kind, digits)}, found {found[kind]}; delete it and download it again."
            )
    if entry.sha256 == found["sha256"]:
        return f"its sha256 is the one that {entry.source} states"
    if not stated:
        return f"no checksum is published for it; sha256 {found['sha256']}"
    begins = " and ".join(f"its {kind} begins with {digits}" for kind, digits in stated.items())
    return f"{begins}, as {entry.source} states; sha256 {found['sha256']}"
