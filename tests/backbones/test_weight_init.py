import math

import pytest
import torch

from mimeval.backbones import VisionTransformer
from mimeval.errors import UserError

ARCH = dict(embed_dim=128, depth=3, num_heads=4)


def start(kind: str, **settings) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(ARCH, img_size=64, weight_init=kind, **settings)


def test_xavier_is_maes():
    model = start("xavier")
    weight = model.blocks[0].mlp.fc1.weight
    bound = math.sqrt(6 / sum(weight.shape))
    assert 0.99 * bound < weight.abs().max() <= bound
    # The projection as a matrix of 768 values for each channel.
    assert model.patch_embed.proj.weight.abs().max() <= math.sqrt(6 / (128 + 768))
    assert all((block.attn.qkv.bias == 0).all() for block in model.blocks)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.2)


def test_beit_is_truncated_and_smaller_with_depth():
    model = start("beit", init_values=0.1, k_bias=False)
    for i, block in enumerate(model.blocks, start=1):
        assert 0.0199 < block.attn.qkv.weight.abs().max() <= 0.02
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert 0.0199 < weight.abs().max() * math.sqrt(2 * i) <= 0.02 + 1e-6
        assert (block.ls1.gamma == 0.1).all()
        assert all((parameter == 0).all() for name, parameter in block.named_parameters() if name.endswith("bias"))
    assert 0.0199 < model.patch_embed.proj.weight.abs().max() <= 0.02 and (model.patch_embed.proj.bias == 0).all()
    assert model.cls_token.abs().max() <= 0.02


def test_maskfeat_has_biases_in_its_blocks():
    model = start("maskfeat", pos_embed="learned")
    biases = [parameter for name, parameter in model.blocks.named_parameters() if name.endswith("bias")]
    # Two norms, qkv and its projection, and two layers of the MLP, in each block.
    assert len(biases) == 6 * 3 and all((bias == 0.02).all() for bias in biases)
    assert (model.norm.bias == 0).all()
    assert model.blocks[1].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)


def test_an_unknown_start_is_refused():
    with pytest.raises(UserError, match="weight_init must be one of xavier, beit, maskfeat, found 'normal'"):
        start("normal")
