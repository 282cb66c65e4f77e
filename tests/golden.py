"""Golden tensors: numbers that official code produced, each file described by the JSON beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "tests/parity/golden", ROOT.parent / "shared/golden")


def golden(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays by key, and the JSON, of one golden file; skips the test where the file is in neither folder."""
    for folder in FOLDERS:
        description = folder / f"{name}.json"
        if not description.is_file():
            continue
        arrays = {}
        if (folder / f"{name}.npz").is_file():
            with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
                arrays = dict(file)
        facts = json.loads(description.read_text())
        if set(facts.get("arrays", {})) <= set(arrays):
            return arrays, facts
    pytest.skip(f"golden tensors '{name}' are neither in tests/parity/golden nor in ../shared/golden")
