import copy
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mimeval.engine.schedule import TimmCosine, WarmupCosine, warmup_cosine
from mimeval.errors import UserError

# A decayed layer, the last layer and a group without a scale.
GROUPS = [dict(lr=0.5 * 0.1, lr_scale=0.5), dict(lr=0.1, lr_scale=1.0), dict(lr=0.1)]


def optimizer_of(groups=GROUPS, lr=0.1):
    return torch.optim.SGD([dict(group, params=[nn.Parameter(torch.zeros(1))]) for group in groups], lr=lr)


def rates_of(optimizer, schedule, steps):
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates


def test_groups_follow_their_own_curve_down_to_their_own_minimum():
    optimizer = optimizer_of()
    schedule = WarmupCosine(optimizer, warmup=2, min_lr=0.01, epochs=10, epoch_length=5)
    rates = torch.tensor(rates_of(optimizer, schedule, 60), dtype=torch.float64)
    assert (rates[0] == 0).all()
    expected = [warmup_cosine(step / 5, 0.1, 2, 10, 0.01) for step in range(60)]
    torch.testing.assert_close(rates[:, 1], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(rates[:, 0], rates[:, 1] / 2, rtol=1e-12, atol=0)
    assert torch.equal(rates[:, 2], rates[:, 1])
    assert rates[50:].tolist() == [[0.005, 0.01, 0.01]] * 10


@pytest.mark.parametrize("layer_decay", [0.65, 0.75])
def test_the_cosine_never_raises_a_group(layer_decay):
    # An absolute minimum of 1e-6 would raise every layer below it, as mmengine's eta_min does.
    scales = [layer_decay**k for k in range(14)]
    optimizer = optimizer_of([dict(lr=1e-4 * scale, lr_scale=scale) for scale in scales])
    schedule = WarmupCosine(optimizer, warmup=10, min_lr=1e-6, end=100, by_epoch=False)
    rates = torch.tensor(rates_of(optimizer, schedule, 120), dtype=torch.float64)
    assert (rates[11:] <= rates[10:-1]).all()
    assert (rates[-1] < rates[10]).all()
    # A rate below the minimum from the start stays where it is.
    low = optimizer_of([dict(lr=1e-8)])
    low_rates = rates_of(low, WarmupCosine(low, min_lr=1e-6, end=100, by_epoch=False), 100)
    assert low_rates == [[1e-8]] * 100


def test_rate_moves_once_per_update_under_accumulation():
    optimizer = optimizer_of([dict(lr=1.0)])
    wrapper = OptimWrapper(optimizer, accumulative_counts=4)
    schedule = WarmupCosine(wrapper, warmup=0, end=16, by_epoch=False)
    rates = [rate for (rate,) in rates_of(optimizer, schedule, 16)]
    assert rates == [warmup_cosine(step - step % 4, 1.0, 0, 16) for step in range(16)]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(warmup=1, end=10), "convert_to_iter_based=True"),
        (dict(warmup=1, by_epoch=False), "no 'epochs' and no 'end'"),
        (dict(warmup=11, end=10, by_epoch=False), "must be 0 to 10"),
    ],
)
def test_settings_that_cannot_be_meant(options, message):
    with pytest.raises(UserError, match=message):
        WarmupCosine(optimizer_of(), **options)


def test_another_hand_on_the_rate_is_an_error():
    optimizer = optimizer_of()
    schedule = WarmupCosine(optimizer, end=10, by_epoch=False)
    optimizer.step()
    schedule.step()
    optimizer.param_groups[1]["lr"] *= 0.1
    with pytest.raises(UserError, match="group 1"):
        schedule.step()


@pytest.mark.parametrize("epoch_length", [5, 10])
def test_a_loaded_schedule_goes_on_from_the_same_epoch(epoch_length):
    # With more GPUs an epoch has fewer iterations; the position in epochs is what counts.
    first = optimizer_of()
    schedule = WarmupCosine(first, warmup=2, min_lr=0.01, epochs=10, epoch_length=5)
    rates_of(first, schedule, 15)
    second = optimizer_of()
    resumed = WarmupCosine(second, warmup=2, min_lr=0.01, epochs=10, epoch_length=epoch_length)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(schedule.state_dict()))
    rates = rates_of(second, resumed, epoch_length * 3)
    assert [rate[1] for rate in rates] == [
        warmup_cosine(3 + step / epoch_length, 0.1, 2, 10, 0.01) for step in range(epoch_length * 3)
    ]


SCHEDULES = [
    (WarmupCosine, dict(min_lr=0.01, full_warmup=True)),
    (TimmCosine, dict(start_ratio=0.1, min_ratio=0.05)),
]


@pytest.mark.parametrize("kind, options", SCHEDULES, ids=["full_warmup", "timm"])
@pytest.mark.parametrize("stop", [1, 7, 12, 33])
def test_a_resumed_schedule_has_the_very_same_rates(kind, options, stop):
    def build(optimizer):
        return kind(OptimWrapper(optimizer, accumulative_counts=2), warmup=2, epochs=10, epoch_length=4, **options)

    whole = optimizer_of()
    expected = rates_of(whole, build(whole), 40)
    first, second = optimizer_of(), optimizer_of()
    schedule, resumed = build(first), build(second)
    assert rates_of(first, schedule, stop) == expected[:stop]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(schedule.state_dict()))
    assert rates_of(second, resumed, 40 - stop) == expected[stop:]


def test_a_full_warmup_ends_one_update_early():
    optimizer = optimizer_of([dict(lr=1.0)])
    schedule = WarmupCosine(optimizer, warmup=4, full_warmup=True, epochs=10, by_epoch=False)
    rates = [rate for (rate,) in rates_of(optimizer, schedule, 10)]
    assert rates[:5] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1], rel=1e-12) and rates[5] < 1
    # numpy.linspace(0, lr, 1) is [0].
    short = optimizer_of([dict(lr=1.0)])
    schedule = WarmupCosine(short, warmup=1, full_warmup=True, epochs=10, by_epoch=False)
    assert [rate for (rate,) in rates_of(short, schedule, 2)] == [0, 1]


def test_timms_cosine_comes_after_the_update_and_has_one_minimum_for_all_groups():
    optimizer = optimizer_of([dict(lr=1.0, lr_scale=1.0), dict(lr=0.01, lr_scale=0.01)])
    schedule = TimmCosine(optimizer, warmup=4, start_ratio=0.1, min_ratio=0.1, epochs=100, by_epoch=False)
    rates = torch.tensor(rates_of(optimizer, schedule, 101), dtype=torch.float64)
    assert rates[0].tolist() == rates[1].tolist() == [0.1, 0.1]
    assert rates[5, 0] < 1 and rates[4, 0] < rates[5, 0]  # the cosine is under way when the warm-up ends
    assert rates[5, 1] < rates[50, 1] < rates[99, 1] < 0.1  # a low layer rises
    unwarmed = optimizer_of([dict(lr=1.0)])
    rates = rates_of(unwarmed, TimmCosine(unwarmed, min_ratio=0.1, epochs=10, by_epoch=False), 3)
    assert rates[0] == rates[1] == [1.0] and rates[2] < [1.0]


def test_the_class_is_named_in_its_errors():
    with pytest.raises(UserError, match="TimmCosine's warmup must be 0 to 10"):
        TimmCosine(optimizer_of(), warmup=11, end=10, by_epoch=False)


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, mode):
        return {"loss": (self.weight * inputs).pow(2).mean()}


class RecordRates(Hook):
    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()["lr"][0])


def train(work_dir, train_cfg, scheduler, **options):
    record = RecordRates()
    runner = Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader([dict(inputs=torch.ones(1))] * 12, batch_size=2),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.3)),
        param_scheduler=scheduler,
        custom_hooks=[record],
        default_hooks=dict(logger=None, checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=True)),
        default_scope="mimeval",
        log_level="ERROR",
        **options,
    )
    runner.train()
    return record.rates


EPOCHS = dict(type="WarmupCosine", warmup=1.5, min_lr=0.01, convert_to_iter_based=True)


def test_in_mmengines_epoch_loop_and_resumed(tmp_path):
    rates = train(tmp_path / "whole", dict(by_epoch=True, max_epochs=4), EPOCHS)
    assert rates == [warmup_cosine(step / 6, 0.3, 1.5, 4, 0.01) for step in range(24)]
    # Stopped after epoch 2 of 4 (the length is the config's, not that of this process), then resumed.
    scheduler = dict(EPOCHS, epochs=4)
    start = train(tmp_path / "part", dict(by_epoch=True, max_epochs=2), scheduler)
    rest = train(tmp_path / "part", dict(by_epoch=True, max_epochs=4), scheduler, resume=True)
    assert start + rest == rates


def test_in_mmengines_iteration_loop(tmp_path):
    scheduler = dict(type="WarmupCosine", warmup=4, min_lr=0.01, by_epoch=False)
    rates = train(tmp_path, dict(by_epoch=False, max_iters=20), scheduler)
    assert rates == [warmup_cosine(step, 0.3, 4, 20, 0.01) for step in range(20)]


def test_a_warm_up_can_start_above_zero():
    # MaskFeat's rates per 256 images (slowfast/utils/lr_policy.py): from 1e-6 to 2e-4 in 30 epochs, to 1e-6 in 300.
    optimizer = optimizer_of([dict(lr=2e-4), dict(lr=1e-4, lr_scale=0.5)])
    schedule = WarmupCosine(optimizer, warmup=30, start_lr=1e-6, min_lr=1e-6, epochs=300, epoch_length=4)
    rates = rates_of(optimizer, schedule, 1200)
    for step in (0, 1, 77, 119, 120, 121, 700, 1199):
        epoch = step / 4
        if epoch < 30:
            expected = 1e-6 + epoch * (2e-4 - 1e-6) / 30
        else:
            expected = 1e-6 + (2e-4 - 1e-6) * (math.cos(math.pi * (epoch - 30) / 270) + 1) / 2
        assert rates[step] == pytest.approx([expected, expected / 2], rel=1e-12)
