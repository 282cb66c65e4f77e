import pytest
import torch

from mimeval.errors import UserError
from mimeval.transfer.models import ProbeNeck


def test_tokens_that_are_read():
    tokens = torch.randn(2, 5, 3)
    earlier = torch.zeros(2, 5, 3)
    torch.testing.assert_close(ProbeNeck("cls")((earlier, tokens))[0], tokens[:, 0])
    torch.testing.assert_close(ProbeNeck("mean")((tokens,))[0], tokens[:, 1:].mean(1))
    torch.testing.assert_close(ProbeNeck("mean", class_token=False)((tokens,))[0], tokens.mean(1))


def test_batch_norm_is_that_of_the_linear_probe():
    tokens = torch.randn(64, 2, 3) * 4 + 1
    neck = ProbeNeck("cls", batch_norm=3)
    (normalised,) = neck((tokens,))
    cls = tokens[:, 0]
    torch.testing.assert_close(normalised, (cls - cls.mean(0)) / (cls.var(0, unbiased=False) + 1e-6).sqrt())
    assert not list(neck.parameters())


def test_other_tokens_are_refused():
    with pytest.raises(UserError, match="'max'"):
        ProbeNeck("max")
    with pytest.raises(UserError, match="class_token is False"):
        ProbeNeck("cls", class_token=False)
