import json

import numpy as np
import pytest

from mimeval.analysis.rauc import area_above, rauc, read_curve, summary
from mimeval.cli.main import main
from mimeval.errors import UserError

BASELINE = np.array([[0.0, 0.0], [100.0, 80.0]])


def test_by_hand():
    """Half of the epochs: at 50 the method is where the baseline is at 100, and stays there."""
    found = rauc(BASELINE, np.array([[0.0, 0.0], [50.0, 80.0], [100.0, 80.0]]))
    # Never below the baseline; triangles 50 x 80 / 2 and 100 x 80 / 2 below the baseline's last accuracy.
    assert (found.lag, found.deficit, found.reached) == (0.0, 0.5, 50.0)
    assert (found.baseline_accuracy, found.baseline_epoch) == (80, 100)


def test_a_method_that_is_behind():
    found = rauc(BASELINE, np.array([[0.0, 0.0], [100.0, 40.0]]))
    # Triangle 100 x 40 / 2 over the baseline's 100 x 80 / 2; 100 x (80 + 40) / 2 over 100 x 80 / 2.
    assert (found.lag, found.deficit, found.reached) == (0.5, 1.5, None)


def test_itself():
    found = rauc(BASELINE, BASELINE)
    assert (found.lag, found.deficit, found.reached) == (0, 1, 100)


def test_only_what_lies_below_counts():
    """Below by 10, then above by 10: the line crosses in the middle, and half a triangle is left."""
    epochs = np.array([0.0, 10.0])
    assert area_above(np.array([50.0, 50.0]), np.array([40.0, 60.0]), epochs) == pytest.approx(10 * 5 / 2)
    assert area_above(np.array([50.0, 50.0]), np.array([60.0, 50.0]), epochs) == 0


def test_areas_equal_a_fine_sum():
    random = np.random.default_rng(0)
    base, method = (np.column_stack([np.sort(random.uniform(0, 100, 9)), random.uniform(10, 80, 9)]) for _ in range(2))
    found = rauc(base, method)
    fine = np.linspace(found.first, found.last, 200_001)
    b, m = (np.interp(fine, c[:, 0], c[:, 1]) for c in (base, method))
    assert found.lag == pytest.approx(np.maximum(b - m, 0).mean() / b.mean(), rel=1e-4)
    goal = base[-1, 1]
    assert found.deficit == pytest.approx(np.maximum(goal - m, 0).mean() / np.maximum(goal - b, 0).mean(), rel=1e-4)


def test_common_epochs_only():
    found = rauc(np.array([[20.0, 40.0], [100.0, 80.0]]), np.array([[0.0, 0.0], [60.0, 60.0]]))
    assert (found.first, found.last) == (20, 60)
    # Baseline 40 to 60, method 20 to 60.
    assert found.lag == pytest.approx((20 * 40 / 2) / (40 * 50))
    with pytest.raises(UserError, match="found 0 to 100 and 200 to 300; measure both"):
        rauc(BASELINE, BASELINE + [[200, 0], [200, 0]])


def test_a_baseline_that_never_lies_below_its_last_has_no_deficit():
    falling = np.array([[0.0, 80.0], [100.0, 70.0]])
    found = rauc(falling, BASELINE)
    assert found.deficit is None and "undefined" in summary(found)


def test_from_files(tmp_path, capsys):
    for name, points in (("mae", "0,0\n100,80"), ("mto", "50,80\n0,0\n100,80")):
        (tmp_path / f"{name}.csv").write_text("epoch,accuracy\n" + points + "\n")
    assert main(["analyze", "rauc", str(tmp_path / "mae.csv"), str(tmp_path / "mto.csv")]) == 0
    out = capsys.readouterr().out
    assert "unverified readings" in out and "deficit  0.5000" in out and "is reached at epoch 50" in out
    assert main(["analyze", "rauc", str(tmp_path / "mae.csv"), str(tmp_path / "mto.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["lag"], found["deficit"]) == ("RAUC", 0, 0.5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("epoch,top1\n1,2\n2,3\n", "found no accuracy"),
        ("epoch,accuracy\n1,2\n", "two or more epochs with finite accuracies, found 1"),
        ("epoch,accuracy\n1,x\n2,3\n", "expected numbers in epoch and accuracy"),
        ("epoch,accuracy\n1\n2,3\n", "expected numbers in epoch and accuracy"),
        ("epoch,accuracy\n1,nan\n2,3\n", "finite accuracies"),
        ("epoch,accuracy\n1,2\n1,3\n", "found two for 1"),
        ("", "two or more epochs"),
    ],
)
def test_curves_that_cannot_be_read(text, match, tmp_path):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=match):
        read_curve(tmp_path / "c.csv")


def test_no_file_and_no_accuracy(tmp_path):
    with pytest.raises(UserError, match="gone.csv: expected a CSV file"):
        read_curve(tmp_path / "gone.csv")
    with pytest.raises(UserError, match="accuracy above 0"):
        rauc(BASELINE * [[1, 0], [1, 0]], BASELINE)
