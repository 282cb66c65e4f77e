"""Which tasks are run for which rows: a suite is read, every checkpoint and data folder checked, then what is not finished is run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mimeval.engine.config import apply_options, find_config, load_config, set_data_root
from mimeval.engine.environment import setup_environment
from mimeval.engine.outputs import latest_checkpoint
from mimeval.engine.runner import RUN_KEYS
from mimeval.errors import UserError
from mimeval.transfer import results
from mimeval.transfer.checks import check_checkpoints, check_data
from mimeval.transfer.protocols import protocol
from mimeval.transfer.results import TASKS, Record

RANDOM = "random"
IDENTITY = "task.json"


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

    @property
    def key(self) -> tuple:
        """Equal to `Record.key` of what this job will write."""
        return (self.task, self.row.init, self.row.sha256, self.config_hash, self.version, self.seed)

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
    resume: bool = False
    seeds: Sequence[int] | None = None
    tasks: Sequence[str] | None = None
    init_names: Sequence[str] | None = None
    random: bool = True
    notes: Sequence[str] = ()
    trust_pickle: bool = False
    waive: Sequence[str] = ()
    options: Sequence[str] = field(default=())


def transfer(request: Request) -> list[Record]:
    """Runs what is missing of a suite, task by task, and returns all records of the jobs asked for.

    Raises:
        UserError: before anything runs: wrong suite, name, option, checkpoint, data or output folder.
    """
    setup_environment()
    rows = resolve_rows(request)
    jobs = list(plan(request, rows))
    check_out(request.out, request.resume)
    check_data(job.cfg for job in jobs)
    check_checkpoints(job.cfg for job in jobs)
    _make(request.out)
    done = {record.key: record for record in results.read(request.out)}
    for number, job in enumerate(jobs, start=1):
        if job.key not in done:
            done[job.key] = run_job(job, request.out, f"[{number}/{len(jobs)}] {job.label}: ")
    return [done[job.key] for job in jobs]


def resolve_rows(request: Request) -> list[Row]:
    """The rows in order, random first. Raises UserError for missing files, double names and notes without a row."""
    paths = [Path(path).expanduser() for path in request.checkpoints]
    names = list(request.init_names or [path.stem for path in paths])
    if len(names) != len(paths):
        raise UserError(f"--init-names gives {len(names)} names for {len(paths)} checkpoints; give one each, comma-separated.")
    if not paths and not request.random:
        raise UserError("Nothing to transfer: --no-random and no checkpoint; give a checkpoint.")
    taken = [*names, RANDOM]
    for name in names:
        if taken.count(name) > 1:
            raise UserError(f"Two rows would be called '{name}'; name them apart with --init-names.")
        if not name or "/" in name or name.startswith("."):
            raise UserError(f"'{name}' cannot name a row, as it will name a folder; choose another with --init-names.")
    notes = {}
    for note in request.notes:
        name, equals, text = note.partition("=")
        if not equals or name not in taken:
            raise UserError(f"--note {note}: expected ROW=TEXT with ROW one of {', '.join(taken)}; correct it.")
        notes[name] = text
    for path in paths:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise UserError(f"checkpoint {path}: expected a file, found {found}; give the path of a checkpoint file.")
    rows = [Row(RANDOM, note=notes.get(RANDOM, ""))] if request.random else []
    return rows + [
        Row(name, path.resolve(), results.file_sha256(path), notes.get(name, ""))
        for name, path in zip(names, paths, strict=True)
    ]


def plan(request: Request, rows: Sequence[Row]) -> Iterator[Job]:
    """The jobs of a suite, the tasks in its order, within a task the rows: cheap tasks first, complete columns first."""
    file, suite = _read_suite(request.suite)
    wanted = list(request.tasks or suite.tasks)
    for task in wanted:
        if task not in suite.tasks:
            raise UserError(f"--tasks: suite {request.suite} has no task '{task}', only {', '.join(suite.tasks)}.")
    options = _options_by_task(request.options, suite.tasks)
    data = request.data or suite.get("data_root")
    for task in (task for task in suite.tasks if task in wanted):
        entry = suite.tasks[task]
        base = load_config(file.parent / entry.config, known_keys=RUN_KEYS | {"protocol"})
        if base.get("protocol", {}).get("task") != task:
            raise UserError(f"suite {request.suite}: {entry.config} is no config of task '{task}' (its protocol.task says which).")
        apply_options(base, options[task])
        digest = results.config_hash(_without_checkpoint(base))
        if data is not None:
            set_data_root(base, str(data))
        for seed in request.seeds or entry.get("seeds") or suite.get("seeds") or [0]:
            for row in rows:
                cfg = _for_row(base, row, seed, request)
                yield Job(task, row, seed, cfg, digest, protocol(task).VERSION, base.protocol.name)


def _read_suite(path: str) -> tuple[Path, Config]:
    file = find_config(path)
    suite = load_config(file)
    tasks = suite.get("tasks")
    if not isinstance(tasks, dict) or not tasks:
        raise UserError(f"suite {path}: expected tasks=dict(knn=dict(config=...), ...), found none; is it a suite?")
    for task, entry in tasks.items():
        if task not in TASKS or not isinstance(entry, dict) or "config" not in entry or set(entry) - {"config", "seeds"}:
            raise UserError(
                f"suite {path}: task '{task}' must be one of {', '.join(TASKS)} and give config= (and seeds= if wanted), "
                f"found {dict(entry) if isinstance(entry, dict) else entry!r}."
            )
    if unknown := set(suite) - {"tasks", "seeds", "data_root"}:
        raise UserError(f"suite {path}: key '{sorted(unknown)[0]}' is none of a suite's (tasks, seeds, data_root); remove it.")
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


def _without_checkpoint(cfg: Config) -> Config:
    plain = Config(cfg._cfg_dict.to_dict())
    plain.model.backbone.pop("init_cfg", None)
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
        )
    cfg.randomness = ConfigDict(cfg.get("randomness") or {}, seed=seed)
    return cfg


def check_out(out: Path, resume: bool) -> None:
    """Raises UserError if the output folder has something in it and --resume was not given, or if it is a file."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder, found a file; choose another.")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise UserError(f"--out {out} is not empty: add --resume to go on with what is unfinished there, or choose another folder.")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {folder}: it cannot be written ({error.strerror}); choose a folder that can.") from error


def run_job(job: Job, out: Path, prefix: str) -> Record:
    """Runs one job in its folder and appends its record; an interrupted training of the same job goes on where it was saved."""
    folder = out / job.artifacts
    identity = json.dumps([str(part) for part in job.key])
    cfg = Config(job.cfg._cfg_dict.to_dict(), filename=job.cfg.filename)
    cfg.work_dir = str(folder)
    mark = folder / IDENTITY
    saved = latest_checkpoint(folder) if mark.is_file() and mark.read_text() == identity else None
    if saved is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        cfg.load_from, cfg.resume = str(saved), True
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(identity)
    start = time.monotonic()
    module = protocol(job.task)
    outcome = module.run(cfg, prefix)
    wall_s = time.monotonic() - start
    row = job.row
    checkpoint = None
    if row.checkpoint is not None:
        checkpoint = {"path": str(row.checkpoint), "sha256": row.sha256, **(outcome.load or {})}
    record = Record(
        task=job.task,
        init=row.init,
        metric=module.METRIC,
        value=outcome.value,
        metrics=outcome.metrics,
        seed=job.seed,
        protocol=job.name,
        protocol_version=job.version,
        features=outcome.features,
        selection=outcome.selection,
        config_hash=job.config_hash,
        checkpoint=checkpoint,
        note=row.note,
        artifacts=job.artifacts,
        git=results.git_revision(),
        versions=results.versions(),
        hardware=results.hardware(),
        wall_s=round(wall_s, 2),
        peak_bytes=outcome.peak_bytes,
        images_seen=outcome.images_seen,
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    results.append(out, record)
    # Only now: until the record is on the disk, the weights are what a resume starts from.
    for weights in [*folder.glob("*.pth"), folder / "last_checkpoint", mark]:
        weights.unlink(missing_ok=True)
    return record


def table(records: Sequence[Record]) -> str:
    """Headline figures, a row for each init and a column for each task; several seeds as mean and range."""
    tasks = [task for task in TASKS if any(record.task == task for record in records)]
    inits = list(dict.fromkeys(record.init for record in records))
    metrics = {record.task: record.metric for record in records}
    lines = [["", *(f"{task} ({metrics[task]})" for task in tasks)]]
    for init in inits:
        cells: list[str] = []
        for task in tasks:
            values = [record.value for record in records if (record.task, record.init) == (task, init)]
            spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{sum(values) / len(values):.1f}{spread}" if values else "-")
        lines.append([init, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
