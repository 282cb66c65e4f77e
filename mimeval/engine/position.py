"""Where a run stands in its data, and the same place in a run with other batches."""

from __future__ import annotations

from typing import Any

from mimeval.engine.live import say
from mimeval.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from mimeval.engine.schedule import ClosedFormSchedule
from mimeval.errors import UserError


def position(runner: Any, epoch: int, iteration: int) -> dict[str, int]:
    """What a checkpoint notes beside its epoch and iteration (both counted from 0, as done).

    `batch`: images of an iteration, all processes; `images`: size of the training set; for a loop over epochs `epoch_batches`
    and, of the present epoch, `batches` that are done.
    """
    loader = runner.train_dataloader
    found = {"batch": _batch_size(loader) * runner.world_size, "images": len(loader.dataset)}
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        found |= {"epoch_batches": len(loader), "batches": iteration - epoch * len(loader)}
    return found


def go_to(runner: Any, meta: dict[str, Any], file: str) -> None:
    """Let the training loop begin where a checkpoint's `meta` says, found by images seen if batches are others now.

    Raises:
        UserError: there is no such place: another training set, or batches that do not end there.
    """
    loop = runner.train_loop
    now = position(runner, meta["epoch"], meta["iter"])
    then = meta.get("position") or now
    if isinstance(loop, EpochBasedTrainLoop):
        _go_into_epoch(runner, meta["epoch"], then, now, file)
    elif isinstance(loop, IterBasedTrainLoop):
        _same_images(then, now, file)
        if then["batch"] != now["batch"]:
            raise UserError(
                f"--resume {file}: expected {then['batch']} images an iteration as before, found {now['batch']}, and "
                f"iterations are what this run counts; {_same_batch(then, runner.world_size)}"
            )
    accumulated = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
    if loop.iter % accumulated and loop.iter < loop.max_iters:
        # Never so after a checkpoint of the same run, which is written between updates only.
        left = accumulated - loop.iter % accumulated
        say(f"--resume {file}: the first update has the gradients of {left} instead of {accumulated} batches")


def _go_into_epoch(runner: Any, epoch: int, then: dict[str, int], now: dict[str, int], file: str) -> None:
    loop = runner.train_loop
    batches, length = then["batches"], now["epoch_batches"]
    if not 0 <= batches <= then["epoch_batches"]:
        raise UserError(
            f"--resume {file}: expected a place in epoch {epoch + 1} of {length} batches, found batch {batches}; "
            "resume with the batch size that it was made with"
        )
    if batches == then["epoch_batches"]:
        batches = length  # the epoch's end, not yet closed
    elif batches:
        _same_images(then, now, file)
        seen = batches * then["batch"]
        if seen % now["batch"]:
            raise UserError(
                f"--resume {file}: it stands after {seen} images of an epoch, which is no number of batches of "
                f"{now['batch']}; {_same_batch(then, runner.world_size)}"
            )
        batches = seen // now["batch"]
    loop._epoch, loop._iter, loop.batches = epoch, epoch * length + batches, batches
    if length != then["epoch_batches"]:
        for scheduler in runner.param_schedulers or []:
            if not scheduler.by_epoch and not isinstance(scheduler, ClosedFormSchedule):
                raise UserError(
                    f"--resume {file}: an epoch had {then['epoch_batches']} batches and has {length}, which "
                    f"{type(scheduler).__name__} cannot follow; {_same_batch(then, runner.world_size)}"
                )


def _same_images(then: dict[str, int], now: dict[str, int], file: str) -> None:
    if then["images"] != now["images"]:
        raise UserError(
            f"--resume {file}: expected the training set of {then['images']} images that it stands in, found "
            f"{now['images']}; give it the same --data, or start a new run"
        )


def _same_batch(then: dict[str, int], processes: int) -> str:
    size, rest = divmod(then["batch"], processes)
    if rest:
        return f"use a number of processes that divides {then['batch']}"
    return f"set train_dataloader.batch_size={size} for {processes} process{'es' if processes > 1 else ''}"


def _batch_size(loader: Any) -> int:
    return loader.batch_size or loader.batch_sampler.batch_size
