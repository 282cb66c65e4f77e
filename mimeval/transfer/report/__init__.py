"""The report of a transfer run: `results.jsonl`, curves and pictures in; `report.html` and `report.md` out."""

from mimeval.transfer.report.write import Written, write_report

__all__ = ["Written", "write_report"]
