"""Training loops that begin at any iteration: mmengine's, without its restart of an epoch and without loading what was seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mmengine.runner
from mmengine.dataset import InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from mimeval.datasets.sampler import KeyedSampler
from mimeval.errors import UserError
from mimeval.registry import LOOPS
from mimeval.signals import deferred


@LOOPS.register_module()
class EpochBasedTrainLoop(mmengine.runner.EpochBasedTrainLoop):
    """mmengine's loop over epochs, which can begin inside one (`batches` of it are done) or before its validation.

    Raises:
        UserError: the sampler never ends an epoch.
    """

    batches = 0  # of the present epoch, done before a resume

    def __init__(self, runner: Any, dataloader: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        if getattr(getattr(self.dataloader.batch_sampler, "sampler", None), "infinite", False):
            raise UserError(
                "train_dataloader.sampler: expected one that ends its epochs for EpochBasedTrainLoop, found infinite=True; "
                "remove it, or train by iterations (train_cfg.type='IterBasedTrainLoop')"
            )

    def run(self) -> Any:
        """Train; returns the model."""
        self.runner.call_hook("before_train")
        with deferred():
            if self.batches == 0:
                # A checkpoint is written before its epoch is validated, and the run may have ended in between.
                self._validate()
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in enumerate(batches_from(self.dataloader, self.batches), start=self.batches):
            self.run_iter(index, batch)
        self.batches = 0
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self._epoch < max(1, self.val_begin):
            return
        if self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs:
            self.runner.val_loop.run()


@LOOPS.register_module()
class IterBasedTrainLoop(mmengine.runner.IterBasedTrainLoop):
    """mmengine's loop over iterations, which can begin at any of them, also before its validation."""

    def run(self) -> Any:
        """Train; returns the model."""
        self.runner.call_hook("before_train")
        # The whole training is one epoch to the hooks.
        self.runner.call_hook("before_train_epoch")
        with deferred():
            if self._iter > 0:
                self._validate()
            batches = endless_from(self.dataloader, self._iter)
            while self._iter < self._max_iters and not self.stop_training:
                self.runner.model.train()
                self.run_iter(next(batches))
                self._validate()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return
        if self._iter % self.val_interval == 0 or self._iter == self._max_iters:
            self.runner.val_loop.run()


def batches_from(loader: DataLoader, done: int) -> Iterator[Any]:
    """The batches of a loader without the first `done`, which are not loaded."""
    if type(loader.batch_sampler) is BatchSampler and isinstance(loader.sampler, KeyedSampler | InfiniteSampler):
        loader.sampler.skip(done * loader.batch_sampler.batch_size)
    elif done:
        # Other batches (grouped by aspect ratio, say) are known only when those before them are: from indices, not images.
        # torch reads this attribute whenever it begins, but guards it against being set.
        object.__setattr__(loader, "batch_sampler", _Rest(loader.batch_sampler, done))
    return iter(loader)


def endless_from(loader: DataLoader, done: int) -> Iterator[Any]:
    """As `batches_from`, and on into further passes where the sampler ends."""
    sampler: Any = getattr(loader.batch_sampler, "sampler", None)
    if isinstance(sampler, InfiniteSampler) or getattr(sampler, "infinite", False):
        yield from batches_from(loader, done)
        return
    passes, done = divmod(done, len(loader))
    for epoch in itertools.count(passes):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        yield from batches_from(loader, done)
        done = 0


def dismiss_workers(loop: Any) -> None:
    """End the persistent workers of a loop, if it has any.

    Left to the garbage collector, which takes the queues to the workers first, every worker is waited for in vain for 5 s.
    """
    loader: Any = getattr(loop, "dataloader", None)
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()
        loader._iterator = None


class _Rest:
    """A batch sampler that the first time leaves out `done` batches; of the same length as the whole."""

    def __init__(self, whole: Any, done: int) -> None:
        self.whole = whole
        self.done = done

    @property
    def sampler(self) -> Any:
        return self.whole.sampler

    @property
    def batch_size(self) -> int:
        return self.whole.batch_size

    def __iter__(self) -> Iterator[Any]:
        # Not before the first batch is asked for: a loader with workers makes an iterator that it never uses.
        done, self.done = self.done, 0
        yield from itertools.islice(iter(self.whole), done, None)

    def __len__(self) -> int:
        return len(self.whole)
