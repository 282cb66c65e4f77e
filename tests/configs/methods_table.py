"""README's table of pre-training methods, from the configs themselves: python -m tests.configs.methods_table [--print]."""

from __future__ import annotations

import argparse
import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from mimeval.engine.config import load_config
from tests.documents import put_between

ROOT = Path(__file__).resolve().parents[2]
README, CONFIGS = ROOT / "README.md", ROOT / "configs"
BEGIN, END = "<!-- methods: python -m tests.configs.methods_table -->", "<!-- end of the methods -->"
BASELINE = "mae_vitb"
ORDER = "MAE EMAE SimMIM MaskFeat LocalMIM ClusterMIM MTO Combination".split()
SIZES = "sblh"
SLOTS = "masking encoding mask_token decoders targets loss regularizers".split()
# Settings that make a slot another one; sizes do not.
TOLD = "ratio unit parts patches norm_pix".split()


def header(name: str) -> str:
    """The docstring of a config."""
    return ast.get_docstring(ast.parse((CONFIGS / f"{name}.py").read_text(encoding="utf-8"))) or ""


def slot(value: Any) -> str:
    """What a slot holds, in a word: its type with the settings that make it another, and how many levels."""
    if isinstance(value, list | tuple):
        kinds = list(dict.fromkeys(slot(item) for item in value))
        return " and ".join(f"{len(value)} x {kind}" if len(value) > 1 else kind for kind in kinds)
    settings = ", ".join(f"{key} {value[key]}" for key in TOLD if key in value and value[key] is not None)
    return f"`{value['type']}`" + f" ({settings})" * bool(settings)


def slots(name: str) -> dict[str, str]:
    """The slots that a config fills, in words."""
    model = load_config(name).model
    return {"encoding": "`VisibleTokens`"} | {key: slot(model[key]) for key in SLOTS if model.get(key)}


def host(name: str) -> str:
    """The config whose slots a config changes: the first of its `_base_` where its header says 'X on Y', else MAE's."""
    if not re.match(r"\w+ on \w+,", header(name)):
        return BASELINE
    bases = re.search(
        r"^_base_ = \[\"\./(\w+)\.py\"", (CONFIGS / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert bases, f"{name} names a host, but its first _base_ is none"
    return bases[1]


def label(names: list[str]) -> str:
    """What is known of the figures, from the lines `expected` of the headers."""
    texts = [header(name) for name in names]
    expected = [text[text.index("\nexpected") :] for text in texts]
    if any("EXPERIMENTAL" in text for text in texts):
        return "experimental; not run"
    if any("(reproduced here" in text for text in expected):
        return "reproduced here"
    return "published; not run here" if any("published" in text for text in expected) else "not run"


def stems(names: list[str]) -> str:
    """Names of configs, those that differ in their size alone in one."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        found = re.fullmatch(rf"(.*_(?:vit|swin))([{SIZES}])(.*)", name)
        groups[(found[1], found[3]) if found else (name, "")].append(found[2] if found else "")
    written = []
    for (before, after), sizes in groups.items():
        ordered = sorted(filter(None, sizes), key=SIZES.index)
        inner = ordered[0] if len(ordered) == 1 else f"{{{','.join(ordered)}}}" if ordered else ""
        written.append(f"`{before}{inner}{after}`")
    return ", ".join(written)


def methods() -> dict[str, list[str]]:
    """Pre-training configs by method, the first word of their headers."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(CONFIGS.glob("*.py")):
        word = re.match(r"\w+", header(file.stem))
        found[word[0] if word else file.stem].append(file.stem)
    return dict(sorted(found.items(), key=lambda item: ([*ORDER, item[0]].index(item[0]), item[0])))


def table() -> str:
    """Markdown: method, what it changes of MAE's slots, configs, label of its figures."""
    base = slots(BASELINE)
    lines = [
        "| method | slots that it changes, of MAE or of its host | configs | its figures |",
        "| --- | --- | --- | --- |",
    ]
    for method, names in methods().items():
        papers = sorted({paper for name in names for paper in re.findall(r"\((\d{4}\.\d{5})\)", header(name))})
        changed: dict[str, list[str]] = defaultdict(list)
        for name in names:
            filled, before = slots(name), slots(host(name))
            for key in SLOTS:
                if filled.get(key) != before.get(key) and filled.get(key, "none") not in changed[key]:
                    changed[key].append(filled.get(key, "none"))
        told = "; ".join(f"{key}: {' or '.join(changed[key])}" for key in SLOTS if changed[key])
        told = told or "none, the baseline: " + ", ".join(base[key] for key in SLOTS if key in base)
        title = f"[{method}](docs/methods.md#{anchor(method)})" + f" ({', '.join(papers)})" * bool(papers)
        lines.append(f"| {title} | {told} | {stems(names)} | {label(names)} |")
    return "\n".join(lines)


def anchor(method: str) -> str:
    """Of its section in docs/methods.md."""
    return "the-combination" if method == "Combination" else method.lower()


def main() -> None:
    """Write the table between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave README.md as it is")
    if parser.parse_args().print:
        print(table())
        return
    put_between(README, BEGIN, END, table())


if __name__ == "__main__":
    main()
