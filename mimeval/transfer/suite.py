"""Running a suite: every checkpoint and data folder is checked first, then what is not finished is run, record by record."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_dist_info, is_main_process

from mimeval.datasets.damaged import damaged_files
from mimeval.engine import provenance
from mimeval.engine.collective import by_first
from mimeval.engine.environment import setup_environment, spare_modules, usable_cores
from mimeval.engine.hooks.leave import agreed
from mimeval.engine.live import LiveLine
from mimeval.engine.outputs import WorkDir, checkpoint_names, latest_checkpoint, train_seconds
from mimeval.engine.strict_runner import undone_on_fault
from mimeval.errors import UserError
from mimeval.signals import Stopped, at_once, handle_in_worker, wished
from mimeval.transfer import results
from mimeval.transfer.checks import check_checkpoints, check_data
from mimeval.transfer.plan import Job, Request, plan, resolve_rows
from mimeval.transfer.protocols import protocol
from mimeval.transfer.results import Record

IDENTITY = "task.json"


def transfer(request: Request) -> list[Record]:
    """Runs what is missing of a suite, task by task, and returns all records of the jobs asked for.

    With many processes (`init_distributed`) all of them run every task together; the first one alone checks and writes.

    Raises:
        UserError: before anything runs: wrong suite, name, option, checkpoint, data or output folder.
    """
    setup_environment()
    rows = resolve_rows(request)
    jobs = list(plan(request, rows))

    def check() -> dict[tuple, Record]:
        check_out(request.out, request.resume)
        check_checkpoints(job.cfg for job in jobs)  # first, as it takes no walk over a million images
        spare_modules()
        check_data(job.cfg for job in jobs)
        return {record.key: record for record in results.read(request.out)}

    done = by_first(check)
    output = _folder(request.out)
    # Once a task is finished or in part trained, a later one that fails takes back its own folder only.
    with undone_on_fault(output, lambda: None, lambda: not done and not any(request.out.rglob("*.pth"))):
        missing = [
            (job, f"[{number}/{len(jobs)}] {job.label}: ")
            for number, job in enumerate(jobs, start=1)
            if job.key not in done
        ]
        for job, record in _measured(missing, request.out, request.jobs):
            if is_main_process():
                keep(job, request.out, record)
            done[job.key] = record
    return [done[job.key] for job in jobs]


def _measured(jobs: Sequence[tuple[Job, str]], out: Path, processes: int) -> Iterator[tuple[Job, Record]]:
    """The records of jobs (with the prefix of their progress), as they are finished, by one process or several."""
    if processes == 1:
        for job, prefix in jobs:
            yield job, run_job(job, out, prefix)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start_worker)
    try:
        with _environment_of_workers(max(1, usable_cores() // processes)):
            running = {pool.submit(run_job, job, out, prefix): job for job, prefix in jobs}
        for future in as_completed(running):
            yield running[future], future.result()
    except BaseException:
        # A worker that trains finishes its iteration and saves it; from there the next run goes on.
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _environment_of_workers(threads: int) -> Iterator[None]:
    """What processes started inside inherit; this one's own environment is as before when it ends."""
    # Read by torch when a worker imports it, and by the live line: workers would overwrite each other's.
    settings = {"OMP_NUM_THREADS": str(threads), "MIMEVAL_PLAIN_PROGRESS": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    handle_in_worker()
    setup_environment()


def check_out(out: Path, resume: bool) -> None:
    """Raises UserError if the output folder has something in it and --resume was not given, or if it is a file."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder, found a file; choose another.")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise UserError(
            f"--out {out} is not empty: add --resume to go on with what is unfinished there, or choose another folder."
        )


def _folder(path: Path) -> WorkDir | None:
    """The first process's, which is the one that takes it back."""
    made: WorkDir | None = None

    def make() -> None:
        nonlocal made
        made = WorkDir(path, "--out")

    by_first(make)
    return made


def _go_on_from(folder: Path, identity: str) -> Path | None:
    """The checkpoint that an interrupted run of the same job left; what another one left is removed."""
    mark = folder / IDENTITY
    saved = latest_checkpoint(folder) if mark.is_file() and mark.read_text() == identity else None
    if saved is None:
        shutil.rmtree(folder, ignore_errors=True)
    return saved


def run_job(job: Job, out: Path, prefix: str) -> Record:
    """Runs one job in its folder; an interrupted training of the same job goes on where it was saved.

    Raises:
        Stopped: a signal asked for it; what was trained is saved.
    """
    # It may have come too late for the task before, and to one process only.
    if wish := agreed(wished()):
        raise Stopped(wish)
    folder = out / job.artifacts
    identity = json.dumps([str(part) for part in job.key])
    cfg = Config(job.cfg._cfg_dict.to_dict(), filename=job.cfg.filename)
    cfg.work_dir = str(folder)
    cfg.launcher = "pytorch" if get_dist_info()[1] > 1 else "none"  # whichever it was, the processes have met
    saved = by_first(lambda: _go_on_from(folder, identity))
    earlier_s = 0.0
    if saved is not None:
        earlier_s = train_seconds(saved)
        cfg.load_from, cfg.resume = str(saved), True
    job_folder = _folder(folder)
    by_first(lambda: (folder / IDENTITY).write_text(identity))
    start = time.monotonic()
    spare_modules()
    module = protocol(job.task)
    # What was trained before the fault may be gone on with.
    with undone_on_fault(job_folder, lambda: None, lambda: not checkpoint_names(folder)):
        try:
            with at_once():
                outcome = module.run(cfg, prefix)
        except Stopped as stop:
            if stop.words and is_main_process():
                LiveLine(prefix=prefix).note(stop.words)
            raise
    wall_s = earlier_s + time.monotonic() - start
    row, processes = job.row, get_dist_info()[1]
    checkpoint = None
    if row.checkpoint is not None:
        checkpoint = {"path": str(row.checkpoint), "sha256": row.sha256, **(outcome.load or {})}
        checkpoint["adapted"] = list(job.adapted)
    return Record(
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
        git=provenance.git_revision(),
        versions=provenance.versions(),
        hardware=provenance.hardware() | ({"processes": processes} if processes > 1 else {}),
        wall_s=round(wall_s, 2),
        peak_bytes=outcome.peak_bytes,
        images_seen=outcome.images_seen,
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        damaged=len(damaged_files(folder)),
    )


def keep(job: Job, out: Path, record: Record) -> None:
    """Appends a job's record, and takes away what only a resume of it would need."""
    results.append(out, record)
    # Only now: until the record is on the disk, the weights are what a resume starts from.
    folder = out / job.artifacts
    for weights in [*folder.glob("*.pth"), folder / "last_checkpoint", folder / IDENTITY]:
        weights.unlink(missing_ok=True)
