"""`mimeval convert` there and back by the command line: every tensor of the two-way families among SimMIM, MAE and ours, to the bit."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mimeval.checkpoints import read_state
from mimeval.cli.main import main
from mimeval.engine.config import load_config
from mimeval.registry import MODELS
from tests.checkpoints.families import family_file, tensors
from tests.configs.test_one_step import shrink


def there_and_back(source, folder, first: str, then: str, *options: str) -> dict[str, torch.Tensor]:
    """The tensors of `source` converted to one format and from there to another, as two commands."""
    middle, end = folder / f"{first}.safetensors", folder / f"{first}_{then}.pth"
    assert main(["convert", str(source), str(middle), "--to", first, *options]) == 0
    assert main(["convert", str(middle), str(end), "--to", then]) == 0
    return read_state(end).state


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", ["simmim_vit", "simmim_swin", "mae_pretrain"])
def test_official_files(tmp_path, capsys, name):
    family = name.split("_")[0]
    heads = ["--num-heads", "4"] if family == "mae" else []
    source = family_file(name, tmp_path)
    same(there_and_back(source, tmp_path, "mimeval", family, *heads), read_state(source).state)
    printed = capsys.readouterr().out
    assert f"({family} -> mimeval)" in printed and f"(mimeval -> {family})" in printed
    assert printed.count("features differ by at most 0.0e+00") == 2


@pytest.mark.parametrize("case", ["pool/", "cls/"])
def test_a_fine_tuned_file(tmp_path, case):
    state = tensors("mae_finetune", f"{case}state/")
    torch.save({"model": state}, tmp_path / "tuned.pth")
    same(there_and_back(tmp_path / "tuned.pth", tmp_path, "mimeval", "mae", "--num-heads", "4"), state)


def test_buffers_of_a_released_file_travel_along(tmp_path):
    """Released SimMIM files have index buffers, and Swin's have the masks of shifted windows."""
    state = tensors("simmim_swin", "state/")
    state["encoder.layers.0.blocks.0.attn.relative_position_index"] = torch.arange(36 * 36).view(36, 36)
    state["encoder.layers.0.blocks.1.attn_mask"] = torch.full((16, 36, 36), -100.0)
    torch.save({"model": state}, tmp_path / "released.pth")
    same(there_and_back(tmp_path / "released.pth", tmp_path, "mimeval", "simmim"), state)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("config", "to"), [("simmim_vitb", "simmim"), ("simmim_swinb", "simmim"), ("mae_vitb", "mae")])
def test_our_own_models(tmp_path, config, to, half):
    init_default_scope("mimeval")
    model = MODELS.build(shrink(load_config(config)).model)
    state = {name: tensor.half() if half else tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "epoch_1.pth")
    same(there_and_back(tmp_path / "epoch_1.pth", tmp_path, to, "mimeval"), state)
    same(there_and_back(tmp_path / "epoch_1.pth", tmp_path, "mimeval", "mimeval"), state)
