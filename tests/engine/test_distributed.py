"""Two processes train what one does on the same global batch: losses, gradients and weights."""

from __future__ import annotations

import pytest

from mimeval.datasets.demo import DemoSpec, generate
from tests.engine.ranks import in_ranks
from tests.engine.steps import configure, difference, trained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


def both(name, data, folder, options=(), batch=8):
    """What one process and two processes noted."""
    options = (*options, "train_cfg.max_epochs=2")
    one = trained(configure(name, data, folder / "one", (*options, f"train_dataloader.batch_size={batch}")))

    def work():
        halved = (*options, f"train_dataloader.batch_size={batch // 2}")
        return trained(configure(name, data, folder / "two", halved, launcher="pytorch"))

    return one, in_ranks(work)


@pytest.mark.parametrize("accumulated", [1, 2], ids=["", "accumulated"])
@pytest.mark.parametrize("name", ["mae", "emae", "finetune"])
def test_two_processes_train_what_one_does(name, accumulated, data, tmp_path):
    options = (
        f"+optim_wrapper.accumulative_counts={accumulated}",
        "+optim_wrapper.clip_grad={'max_norm':0.2}",
    )
    one, (first, second) = both(name, data, tmp_path, options)
    assert len(one["losses"]) == 10 and len(one["gradients"]) == 10 // accumulated
    assert max(one["norms"]) > 0.2, "clipping is not at work"
    assert difference(first, second) == 0
    found = {part: difference(one[part], first[part]) for part in ("losses", "gradients", "weights", "norms")}
    print(name, accumulated, {part: f"{value:.1e}" for part, value in found.items()})
    assert found["losses"] < 2e-6 and found["gradients"] < 2e-6 and found["norms"] < 1e-5
    # Adam turns the rounding of a gradient that is zero (the bias of a key) into a step.
    assert found["weights"] < 2e-5


def test_two_processes_train_a_segmentor_as_one_does(data, tmp_path):
    """With norms per image, no dropout and no class weights: these know only the images of their own process."""
    no_batch_norm = "{'type':'GN','num_groups':1}"
    options = [
        f"model.{head}.{key}"
        for head in ("decode_head", "auxiliary_head")
        for key in (f"norm_cfg={no_batch_norm}", "dropout_ratio=0.0", "loss_decode.class_weight=None")
    ]
    options += ["model.neck.norm_cfg={'type':'mmpretrain.LN2d'}", "param_scheduler.0.warmup=0"]
    options += ["train_cfg.max_iters=3", "train_cfg.val_interval=100"]

    def work(batch, launcher):
        size = f"train_dataloader.batch_size={batch}"
        return trained(
            configure("demo/segmentation_demo", data, tmp_path / launcher, (*options, size), launcher=launcher)
        )

    one, (first, second) = work(8, "none"), in_ranks(lambda: work(4, "pytorch"))
    assert difference(first, second) == 0
    found = {part: difference(one[part], first[part]) for part in ("losses", "gradients", "norms")}
    print({part: f"{value:.1e}" for part, value in found.items()})
    assert found["losses"] < 2e-6 and found["gradients"] < 1e-5
