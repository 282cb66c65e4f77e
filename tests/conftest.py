"""What holds for all tests."""

import gc
import signal

# A shell starts what it runs in the background with SIGINT ignored, and so would be every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    # mmengine collects garbage for every data set that is built. What all test modules have imported by now, two million objects,
    # need not be looked through each time.
    gc.collect()
    gc.freeze()
