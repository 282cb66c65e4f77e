import pytest
import torch
import torch.nn.functional as F

from mimeval.errors import UserError
from mimeval.transfer.protocols.knn import knn_votes, top_k_accuracy


def test_any_chunk_gives_the_votes_of_the_plain_definition():
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(300, 8, generator=generator), dim=1)
    queries = F.normalize(torch.randn(7, 8, generator=generator), dim=1)
    labels = torch.randint(4, (300,), generator=generator)
    expected = torch.zeros(7, 4)
    for row, query in enumerate(queries):
        similar = bank @ query
        for place in similar.argsort(descending=True)[:10]:
            expected[row, labels[place]] += torch.exp(similar[place] / 0.1)
    for chunk in (1, 2, 64):
        torch.testing.assert_close(knn_votes(bank, labels, queries, 10, 0.1, 4, chunk), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_bank_is_refused(k):
    with pytest.raises(UserError, match="1 to 3"):
        knn_votes(torch.eye(3), torch.arange(3), torch.eye(3), k, 0.07, 3)


def test_top_k_counts_places_that_received_votes():
    votes = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])
    assert top_k_accuracy(votes, torch.tensor([2, 0]), 1) == 50
    assert top_k_accuracy(votes, torch.tensor([2, 0]), 5) == 100
    assert top_k_accuracy(votes, torch.tensor([0, 1]), 5) == 0
