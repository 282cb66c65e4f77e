"""Which tasks of a suite are to be run for which rows: names, options and settings resolved, nothing run yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mimeval.checkpoints.formats import recognise
from mimeval.checkpoints.state import read_state, sha256
from mimeval.engine.config import apply_options, find_config, load_config, set_data_root
from mimeval.engine.outputs import checkpoint_of
from mimeval.engine.runner import RUN_KEYS
from mimeval.errors import UserError
from mimeval.transfer import results
from mimeval.transfer.adapt import Known, adapt, check_recipes
from mimeval.transfer.protocols import protocol
from mimeval.transfer.results import TASKS

RANDOM = "random"


@dataclass(frozen=True)
class Row:
    """One initialisation: its name, and the checkpoint file with its SHA-256 (None for random)."""

    init: str
    checkpoint: Path | None = None
    sha256: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One task of one row with one seed, ready to run; `cfg` is its resolved config."""

    task: str
    row: Row
    seed: int
    cfg: Config
    config_hash: str
    version: int
    name: str
    adapted: tuple[str, ...] = ()
    """What of the recipe gave way to the checkpoint's encoder, in phrases."""

    @property
    def key(self) -> tuple:
        """Equal to `Record.key` of what this job will write."""
        return (self.task, self.row.init, self.row.sha256, self.config_hash, self.version, self.seed, self.adapted)

    @property
    def label(self) -> str:
        return f"{self.task} {self.row.init}" + (f" seed {self.seed}" if self.seed else "")

    @property
    def artifacts(self) -> str:
        return f"{self.row.init}/{self.task}" + (f"-seed{self.seed}" if self.seed else "")


@dataclass(frozen=True)
class Request:
    """What `mimeval transfer` was asked for; see its help."""

    checkpoints: Sequence[str]
    suite: str
    out: Path
    data: str | None = None
    strict_data: bool = False
    resume: bool = False
    jobs: int = 1
    seeds: Sequence[int] | None = None
    tasks: Sequence[str] | None = None
    init_names: Sequence[str] | None = None
    random: bool = True
    notes: Sequence[str] = ()
    trust_pickle: bool = False
    waive: Sequence[str] = ()
    switches: Sequence[str] = ()
    options: Sequence[str] = field(default=())


def resolve_rows(request: Request) -> list[Row]:
    """The rows in order, random first. Raises UserError for missing files, double names and notes without a row."""
    given = [Path(path).expanduser() for path in request.checkpoints]
    names = list(request.init_names or [path.name if path.is_dir() else path.stem for path in given])
    paths = [Path(checkpoint_of(path)) for path in given]
    if len(names) != len(paths):
        raise UserError(
            f"--init-names gives {len(names)} names for {len(paths)} checkpoints; give one each, comma-separated."
        )
    if not paths and not request.random:
        raise UserError("Nothing to transfer: --no-random and no checkpoint; give a checkpoint.")
    taken = [*names, RANDOM]
    for name in names:
        if taken.count(name) > 1:
            raise UserError(f"Two rows would be called '{name}'; name them apart with --init-names.")
        if not name or "/" in name or name.startswith(".") or name == "pretrain":
            raise UserError(f"'{name}' cannot name a row, as it will name a folder; choose another with --init-names.")
    notes = {}
    for note in request.notes:
        name, equals, text = note.partition("=")
        if not equals or name not in taken:
            raise UserError(f"--note {note}: expected ROW=TEXT with ROW one of {', '.join(taken)}; correct it.")
        notes[name] = text
    for path in paths:
        if not path.is_file():
            raise UserError(f"checkpoint {path}: expected a file, found nothing; give the path of a checkpoint file.")
    rows = [Row(RANDOM, note=notes.get(RANDOM, ""))] if request.random else []
    return rows + [
        Row(name, path.resolve(), sha256(path), notes.get(name, "")) for name, path in zip(names, paths, strict=True)
    ]


def plan(request: Request, rows: Sequence[Row]) -> Iterator[Job]:
    """The jobs of a suite, the tasks in its order, within a task the rows: cheap tasks first, complete columns first."""
    known = {
        path: Known.of(path, recognise(read_state(path, request.trust_pickle), request.switches))
        for path in dict.fromkeys(row.checkpoint for row in rows)
        if path is not None
    }
    file, suite = _suite_for(request, known)
    wanted = list(request.tasks or suite.tasks)
    for task in wanted:
        if task not in suite.tasks:
            raise UserError(f"--tasks: suite {request.suite} has no task '{task}', only {', '.join(suite.tasks)}.")
    options = _options_by_task(request.options, suite.tasks)
    data = request.data or suite.get("data_root")
    bases = {
        task: _recipe(request, file, task, suite.tasks[task], options[task]) for task in suite.tasks if task in wanted
    }
    for one in known.values():
        check_recipes(bases, one)
    for task, base in bases.items():
        digest = results.config_hash(_without_checkpoint(base, request.switches))
        if data is not None:
            set_data_root(base, str(data))
        for seed in request.seeds or suite.tasks[task].get("seeds") or suite.get("seeds") or [0]:
            for row in rows:
                cfg = _for_row(base, row, seed, request)
                differs = () if row.checkpoint is None else tuple(adapt(cfg, known[row.checkpoint]))
                yield Job(task, row, seed, cfg, digest, protocol(task).VERSION, base.protocol.name, differs)


def _recipe(request: Request, file: Path, task: str, entry: Mapping[str, Any], options: Sequence[str]) -> Config:
    """A task's config with the options for it."""
    base = load_config(file.parent / entry["config"], known_keys=RUN_KEYS | {"protocol"})
    if base.get("protocol", {}).get("task") != task:
        raise UserError(
            f"suite {request.suite}: {entry['config']} is no config of task '{task}' (its protocol.task says which)."
        )
    try:
        apply_options(base, options)
    except UserError as error:
        raise UserError(f"{task}: {error}") from error
    return base


def _suite_for(request: Request, known: Mapping[Path, Known]) -> tuple[Path, Config]:
    """The suite asked for, or the one that it names for Swin checkpoints where these are some."""
    file, suite = _read_suite(request.suite)
    swin = suite.get("swin")
    if swin is None or not known:
        return file, suite
    others = [path for path, one in known.items() if one.architecture.kind != "swin"]
    if not others:
        return _read_suite(str(file.parent / swin))
    if len(others) < len(known):
        one = next(path for path in known if path not in others)
        raise UserError(
            f"checkpoints {one} and {others[0]}: the first is a Swin, the other is none, and their recipes differ; run "
            "`mimeval transfer` for each kind."
        )
    return file, suite


def _read_suite(path: str) -> tuple[Path, Config]:
    file = find_config(path)
    suite = load_config(file)
    tasks = suite.get("tasks")
    if not isinstance(tasks, dict) or not tasks:
        raise UserError(f"suite {path}: expected tasks=dict(knn=dict(config=...), ...), found none; is it a suite?")
    for task, entry in tasks.items():
        if (
            task not in TASKS
            or not isinstance(entry, dict)
            or "config" not in entry
            or set(entry) - {"config", "seeds"}
        ):
            raise UserError(
                f"suite {path}: task '{task}' must be one of {', '.join(TASKS)} and give config= (and seeds= if wanted), "
                f"found {dict(entry) if isinstance(entry, dict) else entry!r}."
            )
    for seeds in (suite.get("seeds"), *(entry.get("seeds") for entry in tasks.values())):
        if seeds is not None and not (isinstance(seeds, list | tuple) and all(isinstance(seed, int) for seed in seeds)):
            raise UserError(f"suite {path}: expected seeds to be a list of integers, found {seeds!r}; correct it.")
    if unknown := set(suite) - {"tasks", "seeds", "data_root", "swin"}:
        raise UserError(
            f"suite {path}: key '{sorted(unknown)[0]}' is none of a suite's (tasks, seeds, data_root, swin); remove it."
        )
    return file, suite


def _options_by_task(options: Sequence[str], tasks: Iterable[str]) -> dict[str, list[str]]:
    """`finetune.train_cfg.max_epochs=1` is an option of the fine-tuning config."""
    found: dict[str, list[str]] = {task: [] for task in tasks}
    for option in options:
        plus = "+" if option.startswith("+") else ""
        task, dot, rest = option.removeprefix("+").partition(".")
        if not dot or task not in found:
            raise UserError(f"--cfg-options {option}: expected TASK.key=value with TASK one of {', '.join(found)}.")
        found[task].append(plus + rest)
    return found


def _without_checkpoint(cfg: Config, switches: Sequence[str]) -> Config:
    plain = Config(cfg._cfg_dict.to_dict())
    plain.model.backbone.pop("init_cfg", None)
    if switches:  # a checkpoint that is read otherwise is measured anew
        plain.model.backbone.init_cfg = ConfigDict(switches=sorted(switches))
    return plain


def _for_row(base: Config, row: Row, seed: int, request: Request) -> Config:
    cfg = Config(base._cfg_dict.to_dict(), filename=base.filename)
    cfg.model.backbone.pop("init_cfg", None)
    if row.checkpoint is not None:
        cfg.model.backbone.init_cfg = ConfigDict(
            type="mimeval.Pretrained",
            checkpoint=str(row.checkpoint),
            waive=list(request.waive),
            trust_pickle=request.trust_pickle,
            switches=list(request.switches),
        )
    cfg.randomness = ConfigDict(cfg.get("randomness") or {}, seed=seed)
    if request.strict_data:
        cfg.strict_data = True
    return cfg
