"""transformers beside mmpretrain and mmdet changes nothing here."""

import subprocess
import sys

import pytest

CODE = """
import mimeval.registry, sys, mmpretrain.models
from mmpretrain.utils import dependency
from mmdet.models.language_models import bert
print(dependency.WITH_MULTIMODAL, bert.AutoTokenizer, "transformers" in sys.modules)
import transformers
"""


def test_language_models_are_left_out_and_transformers_still_imports():
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-3:] == ["False", "None", "False"]
