"""A hundred damaged files of each format here, thousands by `python -m tests.checkpoints.fuzz`: read, or refused in one sentence."""

import os

import pytest

from tests.checkpoints import fuzz_shapes
from tests.checkpoints.fuzz import FORMATS, run

COUNT = int(os.environ.get("MIMEVAL_FUZZ", 100))


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(name):
    outcomes = run(name, COUNT)
    assert sum(outcomes.values()) >= COUNT * 0.9
    # Neither everything nor nothing is refused, and not all for one reason.
    assert outcomes["success"] > 0 and len(outcomes) > 10


def test_other_shapes_under_every_familys_names_are_used_or_refused():
    outcomes = fuzz_shapes.run(max(1, COUNT // 2))
    assert outcomes["success"] > 0 and outcomes["refused"] > 0
