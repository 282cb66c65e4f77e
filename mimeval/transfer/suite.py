"""Running a suite: every checkpoint and data folder is checked first, then what is not finished is run, record by record."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from mmengine.config import Config

from mimeval.engine import provenance
from mimeval.engine.environment import setup_environment
from mimeval.engine.outputs import WorkDir, latest_checkpoint
from mimeval.engine.strict_runner import undone_on_fault
from mimeval.errors import UserError
from mimeval.transfer import results
from mimeval.transfer.checks import check_checkpoints, check_data
from mimeval.transfer.plan import Job, Request, plan, resolve_rows
from mimeval.transfer.protocols import protocol
from mimeval.transfer.results import Record

IDENTITY = "task.json"


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
    done = {record.key: record for record in results.read(request.out)}
    output = WorkDir(request.out, "--out")
    # Once a task is finished or in part trained, a later one that fails takes back its own folder only.
    with undone_on_fault(output, lambda: None, lambda: not done and not any(request.out.rglob("*.pth"))):
        for number, job in enumerate(jobs, start=1):
            if job.key not in done:
                done[job.key] = run_job(job, request.out, f"[{number}/{len(jobs)}] {job.label}: ")
    return [done[job.key] for job in jobs]


def check_out(out: Path, resume: bool) -> None:
    """Raises UserError if the output folder has something in it and --resume was not given, or if it is a file."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder, found a file; choose another.")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise UserError(
            f"--out {out} is not empty: add --resume to go on with what is unfinished there, or choose another folder."
        )


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
    job_folder = WorkDir(folder, "--out")
    mark.write_text(identity)
    start = time.monotonic()
    module = protocol(job.task)
    # What was trained before the fault may be gone on with.
    with undone_on_fault(job_folder, lambda: None, lambda: latest_checkpoint(folder) is None):
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
        git=provenance.git_revision(),
        versions=provenance.versions(),
        hardware=provenance.hardware(),
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
