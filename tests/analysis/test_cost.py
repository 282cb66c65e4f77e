import pytest
from mmengine.config import Config

from mimeval.analysis.cost import StepCost, measure, training_step
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment


@pytest.fixture
def small() -> Config:
    config = load_config("configs/emae_vitb.py")
    config.model.backbone.update(arch=dict(embed_dim=24, depth=1, num_heads=2), img_size=32)
    config.model.decoders[0].update(embed_dim=16, depth=1, num_heads=2)
    return config


def test_candidates_take_turns_and_every_round_is_counted():
    order = []
    steps = [(StepCost(name, "fp32", 4), lambda name=name: order.append(name)) for name in "ab"]
    costs = measure(steps, repeats=3, warmup=1)
    assert order == ["a", "b"] * 4
    assert [len(cost.seconds) for cost in costs] == [3, 3]


def test_a_row_quotes_the_median_step():
    row = StepCost("a", "fp32", batch=8, seconds=[1.0, 4.0, 2.0]).as_dict()
    assert (row["median_s"], row["min_s"], row["max_s"], row["images_per_s"]) == (2.0, 1.0, 4.0, 4.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_of_a_shipped_config_trains(small, precision):
    (cost,) = measure([(StepCost("emae", precision, 2), training_step(small, 2, precision))], repeats=1)
    assert cost.as_dict()["images_per_s"] > 0
    assert cost.peak_bytes > 0


@pytest.mark.parametrize("task", ["finetune", "linear", "detection", "segmentation"])
def test_a_step_of_a_task_trains(task):
    setup_environment()
    config = load_config(f"configs/demo/{task}_demo.py")
    (cost,) = measure([(StepCost(task, "fp32", 2), training_step(config, 2, "fp32"))], repeats=1)
    assert cost.as_dict()["images_per_s"] > 0
