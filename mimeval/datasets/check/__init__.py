"""A data folder looked at as a whole, before anything is trained on it."""

from .report import FAULTS, KINDS, REMARKS, Report, check

__all__ = ["FAULTS", "KINDS", "REMARKS", "Report", "check"]
