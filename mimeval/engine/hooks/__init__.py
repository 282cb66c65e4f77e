"""What happens beside the training loop: progress, measurements, pictures."""

from mimeval.engine.hooks.checkpoint import CheckpointHook
from mimeval.engine.hooks.progress import ProgressHook
from mimeval.engine.hooks.reconstruction import ReconstructionHook
from mimeval.engine.hooks.throughput import ThroughputHook

__all__ = ["CheckpointHook", "ProgressHook", "ReconstructionHook", "ThroughputHook"]
