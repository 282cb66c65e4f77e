"""Reading checkpoints safely, recognising their family, converting them, loading them strictly."""

from .load import LoadReport, Pretrained, load_backbone
from .state import Checkpoint, install_safe_loader, read_file, read_state

__all__ = ["Checkpoint", "LoadReport", "Pretrained", "install_safe_loader", "load_backbone", "read_file", "read_state"]
