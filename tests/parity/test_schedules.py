"""Learning rate and weight decay of every parameter at every step of every classification recipe, against the releases."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.lr_curves import RELEASES, SWIN, curves, mae, official, produced, simmim

PER_EPOCH = 8


def test_every_trained_classification_recipe_is_here():
    folder = Path(__file__).parents[2] / "configs" / "transfer"
    assert set(RELEASES) == {path.stem for path in folder.glob("*.py") if path.stem.startswith(("finetune", "linear"))}


@pytest.mark.parametrize("name", RELEASES)
def test_rates_and_weight_decay(name):
    release = RELEASES[name]
    parameters, ours = produced(name, PER_EPOCH)
    theirs = official(name, parameters, PER_EPOCH)
    assert set(ours) == set(parameters)
    for parameter, (rates, weight_decay) in theirs.items():
        assert len(rates) == release.epochs * PER_EPOCH
        np.testing.assert_allclose(ours[parameter][0], rates, rtol=1e-12, atol=0, err_msg=parameter)
        assert ours[parameter][1] == weight_decay, parameter
    last = max(rates.max() for rates, _ in ours.values())
    assert last == pytest.approx(release.lr, rel=0.06 if release.rule is simmim else 1e-12)


def test_the_rules_differ():
    """What would go unnoticed if one schedule served all three releases."""
    mae_rates, simmim_rates, beit_rates = (
        RELEASES[name].rule(RELEASES[name]._replace(lr=1e-3, min_lr=1e-6, accumulated=1), 1.0, PER_EPOCH)
        for name in ("finetune_localmim_vitb", "finetune_simmim_vitb", "finetune_beit_vitb")
    )
    assert mae_rates[0] == beit_rates[0] == 0 and simmim_rates[0] == simmim_rates[1] == 1e-6
    # The full rate: at the first update after the warm-up, at its last one already, and never.
    warmup = 20 * PER_EPOCH
    assert mae_rates[warmup - 1] < mae_rates[warmup] == 1e-3
    assert beit_rates[warmup - 1] == beit_rates[warmup] == 1e-3
    assert simmim_rates.max() < 1e-3 and simmim_rates[warmup + 1] < simmim_rates[warmup] * 0.95


def test_the_lowest_layers_of_simmims_swin_l_rise_to_the_common_minimum():
    (_, _, ours, theirs), *_ = curves(["finetune_simmim_swinl"], PER_EPOCH)
    assert 5e-3 * 0.7**25 < 1e-6 < ours[-1] * 1.001
    assert ours[len(ours) // 5 + 8] < ours[-1]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


def test_curves_for_a_plot():
    names = ["finetune_vitb", "finetune_localmim_swinb"]
    rows = list(curves(names, PER_EPOCH))
    assert [name for name, *_ in rows] == [
        *(f"finetune_vitb, layer {layer}" for layer in (0, 7, 13)),
        *(f"finetune_localmim_swinb, layer {layer}" for layer in (0, 13, 25)),
    ]
    for _, epochs, ours, theirs in rows:
        assert epochs[0] == 0 and epochs[-1] == 100 - 1 / PER_EPOCH
        assert len(epochs) == len(ours) == len(theirs)
    assert RELEASES[names[0]].rule is mae and RELEASES[names[1]].model == SWIN
