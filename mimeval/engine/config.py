"""Config files: found as given or among those shipped, read without riddles, overridden by known keys only."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

import mimeval
from mimeval.engine.data_root import set_data_root
from mimeval.errors import UserError

_MISSING = object()


def config_folders() -> list[Path]:
    """Where shipped configs lie: inside the installed package, or beside it in a checkout."""
    package = Path(mimeval.__file__).parent
    return [folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()]


def find_config(path: str | Path) -> Path:
    """`path` as given, else the shipped config of that name (`demo/x`, `demo/x.py` or `configs/demo/x.py`).

    Raises:
        UserError: there is no such file, or it is not a .py, .json or .yaml file.
    """
    given = Path(path).expanduser()
    name = Path(*given.parts[1:]) if given.parts[:1] == ("configs",) else given
    candidates = [given, *(folder / name for folder in config_folders() if not given.is_absolute())]
    for candidate in candidates:
        for file in (candidate, candidate.with_name(candidate.name + ".py")):
            if file.is_file():
                if file.suffix not in (".py", ".json", ".yaml", ".yml"):
                    raise UserError(
                        f"config {path}: expected a .py, .json or .yaml file, found {file.suffix or 'no suffix'}"
                    )
                return file.resolve()
    shipped = [str(file.relative_to(folder)) for folder in config_folders() for file in sorted(folder.rglob("*.py"))]
    wanted = name.as_posix() if name.suffix else name.as_posix() + ".py"
    near = difflib.get_close_matches(
        wanted, [file for file in shipped if not file.startswith("_base_")], n=3, cutoff=0.5
    )
    found = "a folder" if given.is_dir() else "nothing there or among the shipped configs"
    raise UserError(
        f"config {path}: expected a config file, found {found}"
        + (f"; near names: {', '.join('configs/' + file for file in near)}" if near else "")
    )


def load_config(
    path: str | Path, options: Sequence[str] = (), data: str | None = None, known_keys: Iterable[str] | None = None
) -> Config:
    """Read a text config, refuse dead top-level keys, point it at `data` (a folder or a data.yaml), then apply `options` (`key=value`).

    With `known_keys`, a top-level name outside them must be a variable that its file, or one that inherits from it,
    reads. Such variables have done their work once the text is read: dropped, so that no option sets one in vain.

    Raises:
        UserError: missing file or base, syntax error, dead key, unknown key or wrong type in `options`, no data_root.
    """
    file = find_config(path)
    if file.suffix == ".py":
        _parse(file)
    try:
        cfg = Config.fromfile(file)
    except UserError:
        raise
    except Exception as error:  # a config is a program: whatever it raises is the config's fault
        raise UserError(
            f"config {path}: expected a config that can be read, found {type(error).__name__}: {error}"
        ) from error
    if known_keys is not None:
        _drop_variables(cfg, file, set(known_keys))
    if data is not None:
        set_data_root(cfg, data)
    apply_options(cfg, options)
    return cfg


def _parse(file: Path, heirs: tuple[Path, ...] = ()) -> ast.Module:
    if not file.is_file():
        raise UserError(f"config {heirs[-1]}: expected its _base_ file {file}, found nothing there; correct _base_")
    if file in heirs:
        raise UserError(f"config {heirs[-1]}: its _base_ leads back to {file} itself; correct _base_")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        raise UserError(f"config {file}: expected Python text, found a syntax error{where}: {error}") from error
    for base in _bases(tree, file):
        _parse(base, (*heirs, file))
    return tree


def _bases(tree: ast.Module, file: Path) -> list[Path]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_base_":
            try:
                value = ast.literal_eval(node.value)  # mmengine, too, wants a literal here
            except ValueError:
                value = None
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
                raise UserError(
                    f"config {file}: expected _base_ to be a file name or a list of them in quotes, "
                    f"found {ast.unparse(node.value)}; correct it"
                )
            return [(file.parent / name).resolve() for name in names if "::" not in name]
    return []


def _files(file: Path, wanted: frozenset[str] = frozenset()) -> Iterator[tuple[Path, set[str], set[str]]]:
    """Per file of the chain: the names that it assigns, and those that it or a file above it (`_base_.name`) reads."""
    tree = _parse(file)
    assigned: set[str] = set()
    read, of_bases = set(wanted), set(wanted)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else assigned).add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
            of_bases.add(node.attr)
    of_bases.update(re.findall(r"\{\{\s*_base_\.(\w+)", file.read_text(encoding="utf-8")))
    yield file, assigned, read
    for base in _bases(tree, file):
        yield from _files(base, frozenset(of_bases))


def _drop_variables(cfg: Config, file: Path, known: set[str]) -> None:
    variables = [key for key in cfg if key not in known]
    chain = list(_files(file)) if file.suffix == ".py" else [(file, set(variables), set())]
    for key in variables:
        for path, assigned, read in chain:
            if key in assigned and key not in read:
                near = difflib.get_close_matches(key, sorted(known), n=3)
                raise UserError(
                    f"config {path}: key '{key}' is no key of a run and not read in the config, so it has no effect; "
                    + (f"did you mean {' or '.join(near)}?" if near else "remove it")
                )
        cfg._cfg_dict.pop(key, None)


def apply_options(cfg: Config, options: Sequence[str]) -> None:
    """Apply `a.b=value` (the key must be there) and `+a.b=value` (a new key) in order; list items go by number.

    Raises:
        UserError: no '=', an unknown key (near names are suggested), or a value whose type cannot be meant.
    """
    for option in options:
        key, equals, text = option.partition("=")
        new = key.startswith("+")
        parts = key.lstrip("+").split(".")
        if not equals or not all(parts):
            raise UserError(
                f"--cfg-options {option}: expected key=value (or +key=value for a new key), found '{option}'"
            )
        if parts == ["data_root"]:
            set_data_root(cfg, text)  # the paths that the config's text made from it, too
            continue
        parent = _parent(cfg, option, parts, new)
        name: Any = int(parts[-1]) if isinstance(parent, list) else parts[-1]
        old = parent[name] if isinstance(parent, list) else parent.get(name, _MISSING)
        if old is _MISSING and not new:
            _unknown(option, parts[:-1], parts[-1], parent)
        parent[name] = _value(option, text, old)


def _parent(cfg: Config, option: str, parts: list[str], new: bool) -> Any:
    """The dict or list that holds the last part of the key; with `new`, dicts on the way are made."""
    node: Any = cfg._cfg_dict
    for depth, part in enumerate(parts):
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                where = ".".join(parts[:depth])
                raise UserError(f"--cfg-options {option}: '{where}' is a list of {len(node)}, found item '{part}'")
        elif not isinstance(node, dict):
            where = ".".join(parts[:depth])
            raise UserError(f"--cfg-options {option}: '{where}' is {node!r} in the config, which has no key '{part}'")
        if depth == len(parts) - 1:
            return node
        if isinstance(node, dict) and part not in node:
            if not new:
                _unknown(option, parts[:depth], part, node)
            node[part] = ConfigDict()
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def _unknown(option: str, above: list[str], part: str, node: dict) -> None:
    full = ".".join([*above, part])
    near = difflib.get_close_matches(part, list(node), n=3)
    hint = f"did you mean {' or '.join('.'.join([*above, name]) for name in near)}?" if near else ""
    if not near:
        hint = f"keys there: {', '.join(sorted(map(str, node)))}" if node else "there are no keys there"
    raise UserError(
        f"--cfg-options {option}: the config has no key '{full}'; {hint}; a new key is set with +{option.lstrip('+')}"
    )


def _value(option: str, text: str, old: Any) -> Any:
    """Read `text` in the light of the value that it replaces; None fits everywhere."""
    if text == "None":
        return None
    if isinstance(old, str):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    value = _literal(option, text)
    expected = None
    if isinstance(old, bool):
        expected = None if isinstance(value, bool) else "True or False"
    elif isinstance(old, int | float):
        fits = isinstance(value, int | float | list | tuple) and not isinstance(value, bool)
        expected = None if fits else "a number"
    elif isinstance(old, dict):
        expected = None if isinstance(value, dict) else "a dict"
    elif isinstance(old, list | tuple):
        expected = None if isinstance(value, list | tuple) else "a list"
    if expected:
        raise UserError(f"--cfg-options {option}: expected {expected} as in the config ({old!r}), found '{text}'")
    return ConfigDict(value) if isinstance(value, dict) else value


def _literal(option: str, text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        # Bare words in a list: [cls,mean] or cls,mean, as OpenMMLab's command lines have it; a path stays as it is.
        if text[:1] in ("[", "(") or ("," in text and not set(text) & set("/ ")):
            try:
                return DictAction._parse_iterable(text)
            except AssertionError as error:
                raise UserError(f"--cfg-options {option}: expected balanced brackets, found '{text}'") from error
        return text
    return list(value) if isinstance(value, tuple) and text[:1] != "(" else value
