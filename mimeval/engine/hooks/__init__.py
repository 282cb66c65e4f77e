"""What happens beside the training loop: checkpoints, leaving, progress, measurements, pictures, damaged files."""

from mimeval.engine.hooks.checkpoint import CheckpointHook
from mimeval.engine.hooks.damaged import DamagedFilesHook
from mimeval.engine.hooks.finite import FiniteHook
from mimeval.engine.hooks.input_files import InputFilesHook
from mimeval.engine.hooks.leave import LeaveHook
from mimeval.engine.hooks.progress import ProgressHook
from mimeval.engine.hooks.reconstruction import ReconstructionHook
from mimeval.engine.hooks.throughput import ThroughputHook

__all__ = [
    "CheckpointHook",
    "DamagedFilesHook",
    "FiniteHook",
    "InputFilesHook",
    "LeaveHook",
    "ProgressHook",
    "ReconstructionHook",
    "ThroughputHook",
]
