"""Evaluation is that of one process: every image once, in the same batches and order, the same predictions and figures."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from torch import nn

from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine import evaluation
from mimeval.engine.evaluation import BatchDealer, agree_on_statistics, averaged, deal_batches, in_order
from mimeval.engine.launch import init_distributed
from mimeval.engine.runner import as_test, build_runner
from mimeval.errors import UserError
from mimeval.registry import METRICS
from tests.engine.ranks import in_ranks
from tests.engine.steps import configure

IMAGES = 31  # a multiple of no number of processes here, nor of the batch
TRAINING = {
    "finetune": ("train_cfg.max_epochs=1",),
    "demo/detection_demo": ("train_cfg.max_iters=40", "optim_wrapper.optimizer.lr=4e-3"),
    "demo/segmentation_demo": ("train_cfg.max_iters=10",),
}


@METRICS.register_module()
class Predictions(BaseMetric):
    """Keeps every image's prediction in a file, by the image's name."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            if "pred_score" in sample:
                found = [sample["pred_score"]]
            elif "pred_sem_seg" in sample:
                found = [sample["pred_sem_seg"]["data"]]
            else:
                found = [sample["pred_instances"][key] for key in ("bboxes", "scores", "labels", "masks")]
            self.results.append((sample["img_path"], [np.asarray(value) for value in found]))

    def compute_metrics(self, results):
        with open(self.file, "wb") as stream:
            pickle.dump(results, stream)
        return {"images": len(results)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=IMAGES, seed=1))


@pytest.mark.parametrize("name", TRAINING)
def test_predictions_and_figures_are_those_of_one_process(name, data, tmp_path):
    short = (*TRAINING[name], "train_dataloader.batch_size=8", "param_scheduler.0.warmup=0")
    training = configure(name, data, tmp_path / "train", short)
    training.default_hooks.checkpoint.update(save_last=True)
    training.val_dataloader = training.val_evaluator = training.val_cfg = None
    build_runner(training).train()
    (checkpoint,) = (tmp_path / "train").glob("*.pth")

    def tested(processes):
        file = tmp_path / f"{processes}.pkl"
        cfg = configure(name, data, tmp_path / "test", short, launcher="none" if processes == 1 else "pytorch")
        cfg.val_dataloader.batch_size = 7
        cfg.val_evaluator = [cfg.val_evaluator, dict(type="Predictions", file=str(file))]
        as_test(cfg, str(checkpoint))
        return build_runner(cfg).test()

    expected = tested(1)
    alone = pickle.loads((tmp_path / "1.pkl").read_bytes())
    assert expected["images"] == len({path for path, _ in alone}) == IMAGES
    figure = next(value for key, value in expected.items() if key.endswith(("top1", "bbox_mAP", "mIoU")))
    assert 0 < figure < 100
    for processes in (2, 3):
        for figures in in_ranks(lambda count=processes: tested(count), processes):
            assert figures == expected
        shared = pickle.loads((tmp_path / f"{processes}.pkl").read_bytes())
        assert [path for path, _ in shared] == [path for path, _ in alone]
        for (_, found), (_, wanted) in zip(shared, alone, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("size, batch, world", [(31, 7, 2), (31, 7, 3), (10, 5, 3), (4, 8, 3), (6, 1, 4)])
@pytest.mark.parametrize("even", [False, True])
def test_every_image_is_dealt_once_and_comes_back_in_order(size, batch, world, even, monkeypatch):
    shares = []
    for rank in range(world):
        monkeypatch.setattr(evaluation, "get_dist_info", lambda rank=rank: (rank, world))
        sampler = BatchDealer(range(size), batch, even)
        indices = list(sampler)
        assert len(sampler) == len(indices)
        shares.append([indices[start : start + batch] for start in range(0, len(indices), batch)])
        assert all(piece[0] % batch == 0 for piece in shares[-1]), "the batches are not those of one process"
    if even:
        assert len({len(share) for share in shares}) == 1
    else:
        assert sorted(index for share in shares for piece in share for index in piece) == list(range(size))
    monkeypatch.setattr(evaluation, "gather", lambda value: shares)
    assert in_order(shares[0], size) == list(range(size))


@pytest.mark.parametrize(
    "loader", [dict(sampler=dict(type="DefaultSampler", shuffle=True)), dict(batch_sampler=dict(type="Odd"))]
)
def test_a_loader_that_orders_its_images_itself_is_refused(loader):
    with pytest.raises(UserError, match="several processes share the images of val_dataloader out"):
        deal_batches(Config(dict(val_dataloader=loader)), "val_dataloader")


def test_running_statistics_and_losses_are_averaged():
    def work():
        init_distributed("pytorch")
        rank = torch.distributed.get_rank()
        model = nn.Sequential(nn.BatchNorm1d(2), nn.SyncBatchNorm(2))
        for norm in model:
            norm.running_mean.fill_(rank)
            norm.running_var.fill_(1 + rank)
        agree_on_statistics(model)
        losses = averaged({"loss": torch.tensor(1.0 + rank, requires_grad=True), "acc": torch.tensor([10.0 * rank])[0]})
        return [norm.running_mean.tolist() + norm.running_var.tolist() for norm in model], {
            name: value.item() for name, value in losses.items()
        }

    for rank, (statistics, losses) in enumerate(in_ranks(work, 3)):
        assert statistics == [[1, 1, 2, 2], [rank, rank, 1 + rank, 1 + rank]]  # SyncBatchNorm's agree by themselves
        assert losses == {"loss": 2.0, "acc": 10.0}
