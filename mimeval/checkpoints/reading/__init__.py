"""Reading checkpoint files without running them: what a file holds, with each tensor described and none read."""

from .machine import Global, Malformed, Opaque
from .pickled import Content
from .source import damaged, read_content, refuse_unlisted
from .storages import Extent, Reader, Stored, Unusual, check_sum, wrong_checksum
from .tree import finish

__all__ = [
    "Content",
    "Extent",
    "Global",
    "Malformed",
    "Opaque",
    "Reader",
    "Stored",
    "Unusual",
    "check_sum",
    "damaged",
    "finish",
    "read_content",
    "refuse_unlisted",
    "wrong_checksum",
]
