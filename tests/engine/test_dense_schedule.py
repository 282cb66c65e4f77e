"""What parity with the official curves does not show: ends, no warm-up, accumulation. See tests/parity/test_dense_schedules.py."""

import pytest

from mimeval.engine.dense_schedule import WarmupMultiStep, WarmupPoly, WholeCosine
from mimeval.errors import UserError
from tests.engine.test_schedule import optimizer_of, rates_of

ITERATIONS = dict(by_epoch=False, begin=0, end=20)


def last_layer(rates: list[list[float]]) -> list[float]:
    assert all(first == pytest.approx(last / 2) for first, last, _ in rates)  # the decayed layer keeps its half
    return [last for _, last, _ in rates]


def test_poly_begins_at_its_start_ratio_and_ends_one_step_before_zero():
    optimizer = optimizer_of()
    rates = last_layer(rates_of(optimizer, WarmupPoly(optimizer, warmup=4, start_ratio=0.1, **ITERATIONS), 20))
    assert rates[0] == pytest.approx(0.1 * 0.1) and rates[19] == pytest.approx(0.1 / 20)
    # The warm-up multiplies a curve that falls from the first iteration on: its end is no full rate.
    assert rates[4] == pytest.approx(0.1 * (1 - 4 / 20)) and max(rates) < 0.1


def test_power_of_poly():
    optimizer = optimizer_of()
    rates = last_layer(rates_of(optimizer, WarmupPoly(optimizer, power=0.9, **ITERATIONS), 20))
    assert rates == pytest.approx([0.1 * (1 - i / 20) ** 0.9 for i in range(20)], rel=1e-12)


def test_steps_come_at_their_iterations_in_any_order():
    optimizer = optimizer_of()
    rates = last_layer(rates_of(optimizer, WarmupMultiStep(optimizer, milestones=[15, 10], **ITERATIONS), 20))
    assert rates == pytest.approx([0.1] * 10 + [0.01] * 5 + [0.001] * 5, rel=1e-12)


def test_the_cosine_is_met_where_the_warm_up_ends():
    optimizer = optimizer_of()
    schedule = WholeCosine(optimizer, warmup=2.5, start_ratio=0.0, **ITERATIONS)
    rates = last_layer(rates_of(optimizer, schedule, 20))
    assert rates[0] == 0 and rates[2] < schedule.rate(2.5, 0.1, 1.0) == pytest.approx(0.1 * 0.9619, rel=1e-3)
    assert rates[3] < schedule.rate(2.5, 0.1, 1.0) and rates[10] == pytest.approx(0.05) and 0 < rates[19] < 1e-3


@pytest.mark.parametrize("kind, more", [(WarmupPoly, {}), (WarmupMultiStep, dict(milestones=[12])), (WholeCosine, {})])
def test_the_rate_moves_once_per_update_and_nothing_else_moves_it(kind, more):
    optimizer = optimizer_of([dict(lr=1.0)])
    optimizer._accumulative_counts = 4
    schedule = kind(optimizer, warmup=8, start_ratio=0.1, **more, **ITERATIONS)
    rates = [rate for (rate,) in rates_of(optimizer, schedule, 20)]
    assert all(len(set(rates[i : i + 4])) == 1 for i in range(0, 20, 4)) and len(set(rates)) > 2
    with pytest.raises(UserError, match=f"{kind.__name__} needs its length"):
        kind(optimizer_of(), **more, by_epoch=False)
    schedule = kind(optimizer, **more, **ITERATIONS)
    optimizer.param_groups[0]["lr"] *= 2
    with pytest.raises(UserError, match=f"{kind.__name__} set the lr of group 0"):
        schedule.step()
