"""Learning rates of every dense recipe at each iteration, against the official schedules written down here.

Sources: detectron2 solver/lr_scheduler.py on fvcore common/param_scheduler.py; mmcv 1.3 runner/hooks/lr_updater.py. The schedules
are shortened 50 times, except where single points of the full length are asked for.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

import pytest

from tests.parity.dense import optimizer, recipe, schedulers

SHORTER = 50


def warmup_of_fvcore(schedule: Callable[[float], float], factor: float, length: float) -> Callable[[float], float]:
    """detectron2's WarmupParamScheduler: linear from factor * schedule(0) to schedule(length), then the schedule itself."""

    def multiplier(where: float) -> float:
        if where + 1e-6 <= length:  # fvcore's CompositeParamScheduler: WHERE_EPSILON
            start, end = factor * schedule(0.0), schedule(length)
            return start + (end - start) * where / length
        return schedule(where)

    return multiplier


def vitdet(max_iter: int, milestones: list[float], warmup: float) -> Callable[[int], float]:
    def steps(where: float) -> float:
        return [1.0, 0.1, 0.01][bisect_right(milestones, int((where + 1e-6) * max_iter))]

    multiplier = warmup_of_fvcore(steps, 0.001, warmup)
    return lambda i: multiplier(i / max_iter)


def li2021(max_iter: int, warmup: float) -> Callable[[int], float]:
    multiplier = warmup_of_fvcore(lambda where: 0.5 * (1.0 + math.cos(math.pi * where)), 0.001, warmup)
    return lambda i: multiplier(i / max_iter)


def warmup_of_mmcv(regular: Callable[[int], float], iters: float, ratio: float) -> Callable[[int], float]:
    """LrUpdaterHook.get_warmup_lr, 'linear': the regular rate of the iteration times 1 - k."""
    return lambda i: regular(i) * (1.0 - (1.0 - i / iters) * (1.0 - ratio)) if i < iters else regular(i)


def poly(max_iter: float, warmup: float) -> Callable[[int], float]:
    return warmup_of_mmcv(lambda i: (1.0 - i / max_iter) ** 1.0, warmup, 1e-6)


def swin(epoch: float, warmup: float) -> Callable[[int], float]:
    """Steps when 27 and 33 epochs are over."""
    return warmup_of_mmcv(lambda i: 0.1 ** sum(i >= step * epoch for step in (27, 33)), warmup, 0.001)


# Lengths of the schedules by the official configs, shortened by `n`.
OFFICIAL = {
    "maskrcnn_vitdet_vits": lambda n: vitdet(184375 / n, [163889 / n, 177546 / n], 250 / 184375),
    "maskrcnn_vitdet_vitb": lambda n: vitdet(184375 / n, [163889 / n, 177546 / n], 250 / 184375),
    "maskrcnn_vitdet_vitl": lambda n: vitdet(184375 / n, [163889 / n, 177546 / n], 250 / 184375),
    "maskrcnn_vitdet_vith": lambda n: vitdet(138281 / n, [122916 / n, 133159 / n], 250 / 184375),
    "maskrcnn_li2021_vitb": lambda n: li2021(184375 / n, 0.25 / 100),
    "maskrcnn_li2021_vitb_50ep": lambda n: li2021(92187 / n, 0.25 / 100 * 2),
    "maskrcnn_li2021_vitb_25ep": lambda n: li2021(46093 / n, 0.25 / 100 * 4),
    "maskrcnn_swinb": lambda n: swin(7330 / n, 500 / n),
    **dict.fromkeys(
        (
            "upernet_vits",
            "upernet_vitb",
            "upernet_vitl",
            "upernet_localmim_vitb",
            "upernet_beit_vitb",
            "upernet_swinb",
            "upernet_swinl",
        ),
        lambda n: poly(160000 / n, 1500 / n),
    ),
}
# Rates per batch of the official configs.
RATES = {
    "maskrcnn_vitdet": (1e-4, 64),
    "maskrcnn_li2021": (8e-5, 64),
    "maskrcnn_swinb": (1e-4, 16),
    "upernet_vit": (1e-4, 16),
    "upernet_localmim": (4e-4, 16),
    "upernet_beit": (7e-4, 16),
    "upernet_swin": (6e-5, 16),
}


def rate_of(name: str) -> float:
    return next(lr for start, (lr, _) in RATES.items() if name.startswith(start))


def lrs(wrapper) -> list[float]:
    return [group["lr"] for group in wrapper.param_groups]


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_group_at_every_iteration_and_after_a_resume(name):
    wrapper = optimizer(name)
    built = schedulers(name, wrapper, SHORTER)
    official, lr = OFFICIAL[name](SHORTER), rate_of(name)
    scales = [group.get("lr_scale", 1.0) for group in wrapper.param_groups]  # mmengine adds one for the log
    length = int(recipe(name).train_cfg.max_iters / SHORTER)
    for i in range(length):
        expected = [lr * scale * official(i) for scale in scales]
        assert lrs(wrapper) == pytest.approx(expected, rel=1e-9), f"iteration {i}"
        if i in (5, length // 3, length - 4):  # in the warm-up, on the way, shortly before the end
            states = wrapper.optimizer.state_dict(), [one.state_dict() for one in built]
            before = lrs(wrapper)
            wrapper = optimizer(name)
            built = schedulers(name, wrapper, SHORTER)
            wrapper.optimizer.load_state_dict(states[0])
            for one, state in zip(built, states[1], strict=True):
                one.load_state_dict(state)
            assert lrs(wrapper) == before
        for one in built:
            one.step()


@pytest.mark.parametrize("name", OFFICIAL)
def test_points_of_the_full_length(name):
    """Where something begins or ends, in iterations, without stepping there."""
    wrapper = optimizer(name)
    (built,) = schedulers(name, wrapper)
    official, lr = OFFICIAL[name](1), rate_of(name)
    length = recipe(name).train_cfg.max_iters
    points = {0, 1, 187, 188, 249, 250, 251, 460, 461, 499, 500, 501, 1499, 1500, 1501, length // 2, length - 1}
    points |= {milestone + off for milestone in getattr(built, "milestones", ()) for off in (-1, 0, 1)}
    for i in sorted(points):
        assert built.rate(i, lr, 1.0) == pytest.approx(lr * official(i), rel=1e-9), f"iteration {i}"


@pytest.mark.parametrize("name", OFFICIAL)
def test_rate_and_batch_on_8_gpus(name):
    config = recipe(name)
    lr, batch = next(value for start, value in RATES.items() if name.startswith(start))
    assert config.optim_wrapper.optimizer.lr == pytest.approx(lr, rel=1e-12)
    assert config.train_dataloader.batch_size * 8 == batch


def test_mmengines_own_schedulers_are_another_curve():
    """Why LinearLR and PolyLR are not used: they end one iteration early, and poly starts after the warm-up (mmseg 1)."""
    from mmengine.optim import LinearLR, PolyLR

    wrapper = optimizer("upernet_vitb")
    length, warmup = 160000 // SHORTER, 1500 // SHORTER
    chained = [
        LinearLR(wrapper, start_factor=1e-6, begin=0, end=warmup, by_epoch=False),
        PolyLR(wrapper, power=1.0, eta_min=0.0, begin=warmup, end=length, by_epoch=False),
    ]
    official, furthest = poly(length, warmup), 0.0
    for i in range(length):
        furthest = max(furthest, abs(lrs(wrapper)[-1] / 1e-4 - official(i)))
        for one in chained:
            one.step()
    assert 0.02 < furthest < 0.05  # of the full rate
