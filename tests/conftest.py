"""What holds for all tests."""

import gc
import signal

import pytest

# A shell starts what it runs in the background with SIGINT ignored, and so would be every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def spared():
    """What has been imported is left out of garbage collections, of which mmengine asks for one with every data set."""
    gc.collect()
    gc.freeze()
