"""`mimeval convert` from its arguments: what it prints, writes and returns."""

import argparse
import subprocess
import sys

import pytest
import torch

from mimeval.checkpoints import read_state
from mimeval.checkpoints.formats import FAMILIES
from mimeval.cli import convert as verb
from mimeval.errors import UserError
from tests.checkpoints.test_load import official


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def source(tmp_path):
    torch.save({"model": official()}, tmp_path / "mae.pth")
    return str(tmp_path / "mae.pth")


def test_it_converts_and_reports(source, tmp_path, capsys):
    target = tmp_path / "x.safetensors"
    assert verb.run(parse(source, str(target), "--image-size", "48")) == 0
    printed = capsys.readouterr().out
    assert "mae -> mimeval" in printed and "4x4 -> 6x6" in printed and "tensors read back are equal" in printed
    assert "backbone.cls_token" in read_state(target).state
    with pytest.raises(UserError, match="--force"):
        verb.run(parse(source, str(target)))
    assert verb.run(parse(source, str(target), "--force", "--to", "mae")) == 0
    assert "cls_token" in read_state(target).state


def test_bad_input_writes_nothing(tmp_path):
    for name in ("missing.pth", "empty.pth"):
        (tmp_path / "empty.pth").touch()
        with pytest.raises(UserError, match=name):
            verb.run(parse(str(tmp_path / name), str(tmp_path / "x.pth")))
        assert not (tmp_path / "x.pth").exists()


def test_every_family_that_can_be_written_is_offered():
    writable = [family for family in FAMILIES if family.writable]
    assert sorted(verb.FORMATS) == sorted(family.name for family in writable)
    assert sorted(verb.LIBRARIES) == sorted({family.group for family in writable} - {""})


def test_the_verb_is_described_without_torch():
    code = (
        "import sys, mimeval.cli.convert as v; assert v.HELP and v.NAME in v.EXAMPLE; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
