"""Evaluation that is the same whatever the number of processes: each image once, in the batches of one process, in order.

mmengine deals single images and repeats some until all processes have equally many. Its figures are right, as it drops the
repeated ones again, but images then meet in other batches; where a batch is padded to its largest image, as in detection, other
batches are other inputs. Here whole batches are dealt, so that every prediction is that of one process.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.utils import apply_to
from torch import nn
from torch.utils.data import Sampler

from mimeval.engine import heartbeat
from mimeval.engine.collective import from_first, gather
from mimeval.errors import UserError
from mimeval.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class BatchDealer(Sampler):
    """Indices 0, 1, 2, ... cut into batches of `batch_size`, of which this process draws number rank, rank + world, ...

    even: processes that would get one batch less draw batch 0 once more at the end, for models whose forward pass every process
    takes part in (FSDP). `in_order` drops what this adds.
    """

    def __init__(self, dataset: Sized, batch_size: int, even: bool = False, seed: int | None = None) -> None:
        self.size, self.batch_size = len(dataset), batch_size
        self.rank, self.world_size = get_dist_info()
        batches = math.ceil(self.size / batch_size)
        self.own = list(range(self.rank, batches, self.world_size))
        if even and len(self.own) < math.ceil(batches / self.world_size):
            self.own.append(0)

    def __iter__(self) -> Iterator[int]:
        for batch in self.own:
            yield from range(batch * self.batch_size, min((batch + 1) * self.batch_size, self.size))

    def __len__(self) -> int:
        return sum(min(self.batch_size, self.size - batch * self.batch_size) for batch in self.own)


def deal_batches(cfg: Config, part: str, even: bool = False) -> None:
    """Put a BatchDealer into the loader `part` (val_dataloader, ...) of a config that several processes will run.

    Raises:
        UserError: the loader chooses or orders its images itself.
    """
    loader = cfg.get(part)
    if not loader:
        return
    sampler = loader.get("sampler") or dict(type="DefaultSampler", shuffle=False)
    known = sampler.get("type") == "BatchDealer" or (
        sampler.get("type") == "DefaultSampler" and not sampler.get("shuffle", True)
    )
    if not known or loader.get("batch_sampler"):
        raise UserError(
            f"config {cfg.filename}: several processes share the images of {part} out; expected "
            f"sampler=dict(type='DefaultSampler', shuffle=False) and no batch_sampler, found {dict(sampler)}; change it"
        )
    loader.sampler = dict(type="BatchDealer", batch_size=loader.get("batch_size", 1), even=even)
    loader.drop_last = False


class GatheringEvaluator(Evaluator):
    """mmengine's, for batches that were dealt to processes: the first one computes the figures from all results, in order.

    Raises:
        UserError: a metric that gathers its results itself.
    """

    def __init__(self, metrics: Any) -> None:
        super().__init__(metrics)
        for metric in self.metrics:
            if type(metric).evaluate is not BaseMetric.evaluate:
                raise UserError(
                    f"val_evaluator: expected metrics whose results several processes can share, found "
                    f"{type(metric).__name__}, which gathers them itself; evaluate with one process"
                )
        self._ends: list[list[int]] = [[] for _ in self.metrics]

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Hand a batch to every metric, and note where its results end."""
        super().process(data_samples, data_batch)
        for ends, metric in zip(self._ends, self.metrics, strict=True):
            ends.append(len(metric.results))

    def evaluate(self, size: int) -> dict[str, Any]:
        """The figures of `size` images, the same in every process."""
        heartbeat.at("metrics")
        figures: dict[str, Any] = {}
        for ends, metric in zip(self._ends, self.metrics, strict=True):
            batches = [metric.results[start:end] for start, end in itertools.pairwise([0, *ends])]
            ends.clear()
            metric.results.clear()
            # Tensors on the CPU: those of another process's GPU mean nothing here.
            results = in_order(apply_to(batches, torch.is_tensor, lambda tensor: tensor.cpu()), size)
            if get_dist_info()[0] == 0:
                prefix = f"{metric.prefix}/" if metric.prefix else ""
                figures |= {prefix + name: value for name, value in metric.compute_metrics(results).items()}
        return from_first(figures)


def in_order(batches: list[list[Any]], size: int) -> list[Any]:
    """The first process gets the items of all processes' batches as one process would have them, the others nothing.

    batches: this process's share of BatchDealer's, items of each; size: items of all of them.
    """
    gathered = gather(batches)
    rounds = itertools.zip_longest(*gathered, fillvalue=[]) if gathered else ()
    return [item for batches_of_round in rounds for batch in batches_of_round for item in batch][:size]


@torch.no_grad()
def agree_on_statistics(model: nn.Module) -> None:
    """Give BatchNorm's running statistics the mean over processes, each of which has seen its own images.

    So every process evaluates, saves and resumes the same model. Training does not read them; SyncBatchNorm's agree already.
    """
    _, world_size = get_dist_info()
    if world_size == 1:
        return
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
    ]
    tensors = [tensor for module in norms for tensor in (module.running_mean, module.running_var) if tensor is not None]
    if tensors:
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(joined)
        joined /= world_size
        for tensor, mean in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def averaged(outputs: dict[str, Any]) -> dict[str, Any]:
    """Losses of a step, averaged over processes as their gradients are: what is logged is the loss of the whole batch."""
    names = [name for name, value in outputs.items() if torch.is_tensor(value)]
    _, world_size = get_dist_info()
    if world_size == 1 or not names:
        return outputs
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    joined = torch.stack([outputs[name].detach().to(device, torch.float32) for name in names])
    dist.all_reduce(joined)
    joined /= world_size
    return {**outputs, **dict(zip(names, joined, strict=True))}
