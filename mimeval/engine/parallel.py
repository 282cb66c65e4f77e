"""A runner that is one of many processes: wrapped or spread model, shared-out evaluation, averaged losses, heartbeat."""

from __future__ import annotations

from typing import Any

import mmengine.runner
import torch
from mmengine.dist import get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from torch import nn

from mimeval.engine import heartbeat
from mimeval.engine.evaluation import GatheringEvaluator, agree_on_statistics, averaged
from mimeval.engine.sharding import is_sharded, shard, whole
from mimeval.errors import UserError


class ParallelRunner(mmengine.runner.Runner):
    """mmengine's Runner; alone in its process group, or without one, it does nothing else."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """DDP, or FSDP2 where the config has `fsdp`.

        Raises:
            UserError: what `shard` raises, or an averaged model beside fsdp.
        """
        if self.distributed and not torch.cuda.is_available():
            model = revert_sync_batchnorm(model)  # torch has it for GPUs only
        settings = self.cfg.get("fsdp")
        if not settings or get_dist_info()[1] == 1:
            return super().wrap_model(model_wrapper_cfg, model)
        if any(hook and str(hook.get("type")).endswith("EMAHook") for hook in self.cfg.get("custom_hooks") or []):
            raise UserError("fsdp: expected no EMAHook, which copies whole models, found one; remove it or fsdp")
        if torch.cuda.is_available():
            model = model.cuda()
        return shard(model, {} if settings is True else settings)

    def _init_model_weights(self) -> None:
        if not is_sharded(self.model):
            super()._init_model_weights()

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """mmengine's, or one that gathers what several processes found."""
        if get_dist_info()[1] == 1:
            return super().build_evaluator(evaluator)
        if isinstance(evaluator, Evaluator) or (isinstance(evaluator, dict) and "metrics" in evaluator):
            raise UserError(
                "val_evaluator: expected a metric or a list of them, which several processes can share, found an evaluator"
            )
        return GatheringEvaluator(evaluator)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """mmengine's; every process notes what it does, and hooks see losses averaged over processes."""
        heartbeat.before_hook(fn_name, self.iter)
        if fn_name in ("before_val_epoch", "before_test_epoch"):
            agree_on_statistics(self.model)
        if fn_name == "after_train_iter" and kwargs.get("outputs"):
            kwargs["outputs"] = averaged(kwargs["outputs"])
        super().call_hook(fn_name, **kwargs)
        heartbeat.after_hook(fn_name, self.iter)

    def whole_model_state(self) -> dict[str, Any]:
        """The model's state as one process would have it, on the first process; every process has to call it."""
        heartbeat.at("saving")
        agree_on_statistics(self.model)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        return whole(model.state_dict())
