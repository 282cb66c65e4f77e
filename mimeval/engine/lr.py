"""The learning rate that a run really uses: base rate x effective batch / 256, accumulation and world size counted."""

from __future__ import annotations

from mmengine.config import Config

from mimeval.errors import UserError


def effective_batch(cfg: Config, world_size: int) -> int:
    """Images per update: batch per process x processes x accumulated iterations."""
    loader = cfg.train_dataloader
    batch = loader.get("batch_size") or (loader.get("batch_sampler") or {}).get("batch_size")
    if not batch:
        raise UserError("train_dataloader: expected a batch_size from which the learning rate follows, found none")
    accumulated = cfg.optim_wrapper.get("accumulative_counts", 1)
    if not isinstance(accumulated, int) or accumulated < 1:
        raise UserError(f"optim_wrapper.accumulative_counts: expected an integer from 1 on, found {accumulated!r}")
    return batch * world_size * accumulated


def resolve_lr(cfg: Config, world_size: int) -> str:
    """Set optim_wrapper.optimizer.lr from the config's `base_lr` (per 256 images, MAE) or under `auto_scale_lr.enable`.

    `auto_scale_lr` (`base_batch_size`, `enable`) scales an absolute rate linearly, and then notes the batch that the
    rate is for, so that a dumped config is not scaled twice. Returns the line to print.

    Raises:
        UserError: nothing to scale from, both ways at once, or no rate at all.
    """
    optimizer = cfg.optim_wrapper.optimizer
    batch = effective_batch(cfg, world_size)
    accumulated = cfg.optim_wrapper.get("accumulative_counts", 1)
    of = f"batch {batch} = {batch // world_size // accumulated} x {world_size} processes x {accumulated} accumulated"
    auto = cfg.get("auto_scale_lr") or {}
    base_lr = cfg.get("base_lr")
    if auto.get("enable"):
        if base_lr is not None:
            raise UserError("--auto-scale-lr: base_lr in the config already scales with the batch; leave the flag out")
        if not auto.get("base_batch_size"):
            raise UserError(
                "--auto-scale-lr: expected the batch that the config's lr is meant for, found none; "
                "set auto_scale_lr=dict(base_batch_size=...) in the config"
            )
        before, based_on = optimizer.lr, auto["base_batch_size"]
        optimizer.lr = before * batch / based_on
        # mmengine would scale once more, without counting accumulation.
        cfg.auto_scale_lr = dict(base_batch_size=batch, enable=False)
        return f"learning rate {optimizer.lr:.4g} = {before:.4g} x {batch} / {based_on}; {of}"
    if base_lr is not None:
        optimizer.lr = base_lr * batch / 256
        return f"learning rate {optimizer.lr:.4g} = base_lr {base_lr:.4g} x {batch} / 256; {of}"
    if optimizer.get("lr") is None:
        raise UserError("config: expected base_lr (per 256 images) or optim_wrapper.optimizer.lr, found neither")
    return f"learning rate {optimizer.lr:.4g} as in the config; {of}"
