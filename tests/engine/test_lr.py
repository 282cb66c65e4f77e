"""The rate that a run uses: base rate x effective batch / 256."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mimeval.engine.lr import resolve_lr
from mimeval.errors import UserError


def config(lr=None, accumulative_counts=1, loader=None, **top):
    optimizer = dict(type="AdamW") if lr is None else dict(type="AdamW", lr=lr)
    wrapper = dict(optimizer=optimizer, accumulative_counts=accumulative_counts)
    return Config(dict(train_dataloader=loader or dict(batch_size=64), optim_wrapper=wrapper, **top))


def test_base_lr_counts_batch_processes_and_accumulation():
    cfg = config(base_lr=1.5e-4, accumulative_counts=8)
    line = resolve_lr(cfg, world_size=8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.5e-4 * 4096 / 256)
    assert "0.0024" in line and "batch 4096 = 64 x 8 processes x 8 accumulated" in line


def test_base_lr_may_be_resolved_again():
    cfg = config(base_lr=1e-3)
    resolve_lr(cfg, 4)
    resolve_lr(cfg, 1)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * 64 / 256)


def test_a_batch_sampler_knows_the_batch():
    cfg = config(base_lr=1.0, loader=dict(batch_sampler=dict(type="x", batch_size=256)))
    resolve_lr(cfg, 1)
    assert cfg.optim_wrapper.optimizer.lr == 1.0


def test_an_absolute_rate_is_left_alone_without_the_flag():
    cfg = config(lr=1e-4, accumulative_counts=2, auto_scale_lr=dict(base_batch_size=16, enable=False))
    assert "as in the config" in resolve_lr(cfg, 8)
    assert cfg.optim_wrapper.optimizer.lr == 1e-4


def test_auto_scale_counts_accumulation_and_happens_once():
    cfg = config(lr=1e-4, accumulative_counts=2, auto_scale_lr=dict(base_batch_size=16, enable=True))
    resolve_lr(cfg, 8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * 1024 / 16)
    cfg.auto_scale_lr.enable = True
    resolve_lr(cfg, 8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * 1024 / 16)


@pytest.mark.parametrize(
    "cfg, says",
    [
        (config(base_lr=1e-3, auto_scale_lr=dict(base_batch_size=16, enable=True)), "already scales"),
        (config(lr=1e-3, auto_scale_lr=dict(enable=True)), "base_batch_size"),
        (config(), "expected base_lr .* or optim_wrapper.optimizer.lr"),
        (config(lr=1e-3, loader=dict(num_workers=1)), "batch_size"),
    ],
)
def test_what_cannot_be_resolved_is_said(cfg, says):
    with pytest.raises(UserError, match=says):
        resolve_lr(cfg, 1)
