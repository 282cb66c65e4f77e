import torch

from mimeval.engine.memory import peak_bytes, reset_peak

MEBIBYTE = 2**20


def test_peak_rises_with_what_is_used_and_reset_forgets_it():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    can_reset = reset_peak()
    before = peak_bytes()
    block = torch.ones(64 * MEBIBYTE, dtype=torch.uint8, device=device)
    grown = peak_bytes() - before
    # The process may have been higher before where there is no reset.
    assert grown >= 60 * MEBIBYTE or not can_reset
    assert peak_bytes() >= 64 * MEBIBYTE
    top = peak_bytes()
    del block
    # Linux counts resident pages in batches, so the mark is good to about a megabyte.
    assert peak_bytes() >= top - 2 * MEBIBYTE, "a peak does not fall when memory is freed"
    if reset_peak():
        assert peak_bytes() <= top - 50 * MEBIBYTE
