"""The weighted k-NN vote against DINO's own `knn_classifier` (golden/knn_dino.json)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mimeval.transfer.protocols.knn import knn_votes, top_k_accuracy

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "knn_dino.json").read_text())


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "knn_dino.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


# 3 makes the bank's pieces as narrow as 192 of 200 features, so that results are merged across pieces.
@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("k", FACTS["config"]["k"])
def test_votes_and_predictions_equal_dino(arrays, k, chunk):
    bank, labels = arrays["in/train_features"], arrays["in/train_labels"]
    votes = knn_votes(
        bank, labels, arrays["in/test_features"], k, FACTS["config"]["T"], FACTS["config"]["classes"], chunk
    )
    torch.testing.assert_close(votes, arrays[f"out/k{k}/votes"], rtol=1e-5, atol=1e-6)
    assert torch.equal(votes.argmax(dim=1), arrays[f"out/k{k}/predictions"])
    assert top_k_accuracy(votes, arrays["in/test_labels"], 1) == pytest.approx(
        float(arrays[f"out/k{k}/top1"]), abs=1e-4
    )


@pytest.mark.parametrize(
    "k",
    [k for k, facts in FACTS["per_k"].items() if facts["top5_hits_by_a_class_with_zero_votes"] == 0 and int(k) >= 5],
)
def test_top5_equals_dino_where_no_class_without_votes_is_hit(arrays, k):
    votes = arrays[f"out/k{k}/votes"]
    assert top_k_accuracy(votes, arrays["in/test_labels"], 5) == pytest.approx(
        float(arrays[f"out/k{k}/top5"]), abs=1e-4
    )


def test_a_class_without_votes_is_never_counted(arrays):
    # DINO counts such hits as the sort happens to place them; with 1000 classes none of them is the target.
    votes = arrays["out/k5/votes"]
    expected = FACTS["per_k"]["5"]["top5_with_num_classes_1000"]
    assert top_k_accuracy(votes, arrays["in/test_labels"], 5) == pytest.approx(expected, abs=1e-4)
