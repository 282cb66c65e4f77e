import mmap
import subprocess
import sys

import pytest
import torch

from mimeval.engine.memory import peak_bytes, reset_peak

MEBIBYTE = 2**20


def test_peak_rises_with_what_is_used_and_reset_forgets_it():
    can_reset = reset_peak()
    before = peak_bytes()
    if torch.cuda.is_available():
        block = torch.ones(64 * MEBIBYTE, dtype=torch.uint8, device="cuda")
    else:  # malloc may keep what is freed
        block = mmap.mmap(-1, 64 * MEBIBYTE)
        block.write(b"1" * (64 * MEBIBYTE))
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


@pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="glibc's malloc, of trainings on the CPU"
)
@pytest.mark.parametrize("variable, kept", [("OTHER", True), ("MALLOC_ARENA_MAX", False)])
def test_freed_memory_is_kept_unless_malloc_was_set(variable, kept):
    code = (
        "import torch\n"
        "from mimeval.engine.memory import keep_freed_memory\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "kept, before = keep_freed_memory(), resident()\n"
        "block = torch.ones(100 << 20, dtype=torch.uint8)\n"
        "del block\n"
        "print(kept, resident() - before > 90 << 20)"
    )
    done = subprocess.run(
        ["env", f"{variable}=1", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(kept)] * 2
