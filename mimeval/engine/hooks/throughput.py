"""Images per second, images seen and peak memory, next to the losses in JSON lines and TensorBoard."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from mimeval.engine.memory import peak_bytes, reset_peak
from mimeval.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Scalars `train/images_per_s` (all processes, loading included) and `train/peak_bytes`; info `images_seen`.

    The optimizer wrapper adds `train/grad_norm`. Images seen and the time of all steps, `train_wall_s` in seconds, are kept over a resume.
    """

    # After IterTimerHook, which has the same priority and is registered first, and before LoggerHook.
    priority = "NORMAL"

    def __init__(self, window: int = 10) -> None:
        self.window = window
        self.peak = 0

    def before_train(self, runner: Any) -> None:
        """Measure memory from here on."""
        self.peak = 0
        reset_peak()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count the batch."""
        hub = runner.message_hub
        images = len(data_batch["inputs"]) * runner.world_size
        seconds = hub.get_scalar("train/time").mean(self.window)
        # mmengine's log resets the GPU's peak at every line, so the highest is kept here.
        self.peak = max(self.peak, peak_bytes())
        seen = hub.get_info("images_seen") if "images_seen" in hub.runtime_info else 0
        hub.update_info("images_seen", seen + images)
        wall = hub.get_info("train_wall_s") if "train_wall_s" in hub.runtime_info else 0.0
        hub.update_info("train_wall_s", wall + hub.get_scalar("train/time").current())
        hub.update_scalar("train/images_per_s", images / seconds)
        hub.update_scalar("train/peak_bytes", self.peak)
