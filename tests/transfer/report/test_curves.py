import json

import pytest

from mimeval.errors import UserError
from mimeval.transfer.report.curves import read_runs
from tests.transfer.report.folders import scalars


def test_a_resumed_run_is_one_curve_and_the_resumed_numbers_count(tmp_path):
    scalars(tmp_path, 6, lambda step: {"loss": 10.0 * step})
    scalars(tmp_path, 4, lambda step: {"loss": -1.0 * step}, session="20261121_130000", first=5)
    (run,) = read_runs(tmp_path)
    assert run.folder == tmp_path
    assert run.values["loss"] == [
        (1, 10.0),
        (2, 20.0),
        (3, 30.0),
        (4, 40.0),
        (5, -5.0),
        (6, -6.0),
        (7, -7.0),
        (8, -8.0),
    ]


def test_a_metric_of_validation_does_not_disturb_the_loss(tmp_path):
    path = scalars(tmp_path, 3, lambda step: {"loss": 1.0})
    with path.open("a") as stream:
        stream.write(json.dumps({"accuracy/top1": 50.0, "step": 1}) + "\n")
    (run,) = read_runs(tmp_path)
    assert len(run.values["loss"]) == 3 and run.values["accuracy/top1"] == [(1, 50.0)]


def test_runs_below_a_folder_are_kept_apart(tmp_path):
    for seed in (0, 1):
        scalars(tmp_path / f"linear-seed{seed}", 2, lambda step, seed=seed: {"loss": seed})
    assert [run.values["loss"][0][1] for run in read_runs(tmp_path)] == [0, 1]


def test_the_unfinished_last_line_of_a_stopped_run_is_left_out(tmp_path):
    path = scalars(tmp_path, 3, lambda step: {"loss": 1.0})
    path.write_text(path.read_text() + '{"loss": 1.0, "st')
    assert len(read_runs(tmp_path)[0].values["loss"]) == 3


@pytest.mark.parametrize("bad", ["not json", "[1, 2]", "7"])
def test_a_malformed_line_is_named(tmp_path, bad):
    path = scalars(tmp_path, 3, lambda step: {"loss": 1.0})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], bad, lines[1]]) + "\n")
    with pytest.raises(UserError, match=r"scalars\.json, line 2"):
        read_runs(tmp_path)
