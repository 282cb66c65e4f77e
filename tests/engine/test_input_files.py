"""A run notes the files that its model was made with, and goes on with no others."""

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from mimeval.checkpoints.state import read_file, sha256
from mimeval.engine.config import load_config
from mimeval.engine.runner import build_runner, prepare
from mimeval.errors import UserError
from mimeval.registry import MODELS


class Table(nn.Module):
    def __init__(self, file):
        super().__init__()
        self.file = file

    def input_files(self):
        return {"file": self.file, "sha256": sha256(self.file)} if self.file else {}


@MODELS.register_module()
class WithTable(BaseModel):
    """A model that reads a file."""

    def __init__(self, file):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.table = Table(file)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        colour = torch.stack(list(inputs)).float().mean((2, 3)) / 255
        return {"loss_colour": (self.layer(colour) - colour).square().mean()}


def run(config_file, data_root, folder, file, resume=None, epochs=1):
    options = [f"model.file={file}", "model.type=WithTable", f"train_cfg.max_epochs={epochs}"]
    config_file.write_text(config_file.read_text().replace("type='TinyReconstructor', size=size", "type='', file=''"))
    config_file.write_text(config_file.read_text().replace("size = 8\n", "").replace("size=size", "size=8"))
    cfg = load_config(config_file, options, str(data_root))
    prepare(cfg, work_dir=str(folder), resume=resume)
    build_runner(cfg).train()


def test_a_checkpoint_says_what_its_model_was_made_with(config_file, data_root, tmp_path):
    table, other = tmp_path / "table.bin", tmp_path / "other.bin"
    table.write_bytes(b"one")
    other.write_bytes(b"two")
    run(config_file, data_root, tmp_path / "run", table)
    training = read_file(tmp_path / "run" / "epoch_1.pth")["meta"]["training"]
    assert training["inputs"] == {"table": {"file": str(table), "sha256": sha256(table)}}
    run(config_file, data_root, tmp_path / "run", table, resume="auto", epochs=2)
    with pytest.raises(UserError, match="table was trained with .*table.bin .* found .*other.bin"):
        run(config_file, data_root, tmp_path / "run", other, resume="auto", epochs=3)


def test_models_without_files_note_nothing(config_file, data_root, tmp_path):
    run(config_file, data_root, tmp_path / "run", "")
    assert "inputs" not in read_file(tmp_path / "run" / "epoch_1.pth")["meta"]["training"]
