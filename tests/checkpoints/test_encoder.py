"""A recipe for a plain ViT, with the encoder of any checkpoint of its size: what it loads, and what it then computes."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.encoder import is_windowed, obstacle, with_encoder
from mimeval.checkpoints.formats import recognise
from mimeval.checkpoints.formats.architecture import Swin, ViT
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS
from tests.checkpoints.families import FILES, family_file, heads
from tests.checkpoints.made_files import MAKERS, numbered

BASE = dict(type="mimeval.VisionTransformer", arch="base")
PLAIN = dict(
    embed_dim=768,
    depth=12,
    num_heads=12,
    heads_are_stored=True,
    patch_size=16,
    grid=(14, 14),
    cls_token=True,
    mlp_ratio=4.0,
)


@pytest.fixture(scope="module", params=[*FILES, *MAKERS], ids=lambda made: getattr(made, "__name__", made))
def known(request, tmp_path_factory):
    """A file of each family, and the heads that load_backbone has to be told."""
    folder = tmp_path_factory.mktemp("known")
    if callable(request.param):
        made = request.param(folder)
        return made.path, made.settings.get("num_heads")
    return family_file(request.param, folder), heads(request.param).get("num_heads")


@pytest.mark.parametrize("out_type", ["tokens", "mean", "maps"])
def test_a_plain_recipe_computes_what_the_checkpoint_does(known, out_type):
    setup_environment()  # before OpenMMLab is imported by anything
    init_default_scope("mimeval")
    path, given = known
    a = recognise(read_state(path)).architecture
    if not isinstance(a, ViT):
        pytest.skip("Swins have recipes of their own")
    if out_type == "tokens" and a.final_norm in ("fc_norm", None):
        pytest.skip("it ends without a norm of tokens")
    arch = dict(embed_dim=a.embed_dim, depth=a.depth, num_heads=given or a.num_heads or 4)
    recipe = dict(
        type="mimeval.VisionTransformer", arch=arch, img_size=a.image_size, patch_size=a.patch_size, out_type=out_type
    )
    changed, _ = with_encoder(recipe, a)
    backbone = MODELS.build(changed)
    report = load_backbone(backbone, path)
    assert set(report.fresh) <= {"fc_norm.weight", "fc_norm.bias"} and not report.waived
    settings = {} if given is None else {"num_heads": given}
    expected = load_backbone(path, out_type=out_type, **settings)
    for size in (a.image_size, tuple(2 * side for side in a.image_size)):
        images = numbered(1, *size)
        with torch.inference_mode():
            assert torch.equal(backbone.eval()(images)[0], expected(images)[0])
    # What it differs by is said once, and nothing differs from what it has become.
    assert with_encoder(changed, a) == (changed, [])


def test_a_plain_encoder_changes_nothing():
    assert with_encoder(BASE, ViT(**PLAIN)) == (BASE, [])


@pytest.mark.parametrize(
    ("recipe", "facts", "settings", "said"),
    [
        ({}, dict(num_heads=6), {"arch": dict(embed_dim=768, depth=12, num_heads=6)}, ["6 heads"]),
        ({}, dict(num_heads=6, heads_are_stored=False), {}, []),
        ({}, dict(layer_scale=True), {"init_values": 1.0}, ["layer scale"]),
        ({"init_values": 0.1}, dict(layer_scale=True), {}, []),
        ({"init_values": 0.1}, {}, {}, []),  # the recipe's own, started anew
        ({}, dict(positions=False), {"pos_embed": "none"}, ["no absolute positions"]),
        ({"pos_embed": "none"}, {}, {"pos_embed": "learned"}, ["absolute positions"]),
        ({}, dict(rel_pos="bias"), {"rel_pos": "bias"}, ["relative biases"]),
        ({"rel_pos": "bias"}, dict(rel_pos="shared_bias"), {}, []),  # the table goes into each block
        ({"rel_pos": "shared_bias"}, dict(rel_pos="bias"), {"rel_pos": "bias"}, ["relative biases"]),
        ({"rel_pos": "bias"}, {}, {}, []),
        (
            {"rel_pos": "bias"},
            dict(registers=4),
            {"registers": 4, "rel_pos": "none"},
            ["4 registers", "none of the recipe's relative biases, which go with a class token and no registers"],
        ),
        (
            {},
            dict(rel_pos="rotary", rel_pos_grid=(16, 16), patch_size=14),
            {"patch_size": 14, "rel_pos": "rotary", "rel_pos_size": (224, 224)},
            ["patches of 14 pixels", "rotary positions"],
        ),
        ({}, dict(norm_eps=1e-12), {"norm_eps": 1e-12}, ["an epsilon of 1e-12 in LayerNorm"]),
        ({"norm_eps": 1e-6}, dict(norm_eps=1e-12), {}, []),  # what a recipe says itself, and no tensor shows
        ({"window_size": 14, "out_type": "maps"}, dict(cls_token=False), {}, []),
        (
            {"rel_pos": "decomposed", "out_type": "maps"},
            dict(registers=4),
            {},
            ["its registers left out, which windows do not have"],
        ),
    ],
)
def test_what_a_recipe_takes_over(recipe, facts, settings, said):
    recipe = {**BASE, **recipe}
    changed, differs = with_encoder(recipe, ViT(**{**PLAIN, **facts}))
    assert (changed, differs) == ({**recipe, **settings}, said)


def test_sizes_and_other_kinds_are_left_to_the_strict_loader():
    for other in (ViT(**{**PLAIN, "depth": 24, "layer_scale": True}), Swin(depths=(2,), num_heads=(2,), windows=(7,))):
        assert with_encoder(BASE, other) == (BASE, [])
    swin = dict(type="mimeval.SwinTransformer", arch="base")
    assert with_encoder(swin, ViT(**PLAIN, layer_scale=True)) == (swin, [])


def test_what_a_recipe_cannot_have():
    assert (
        is_windowed({"rel_pos": "decomposed"})
        and is_windowed({"window_size": 7})
        and not is_windowed({"rel_pos": "bias"})
    )
    rotary = ViT(**{**PLAIN, "rel_pos": "rotary", "patch_size": 14})
    assert "windows, and the encoder has rotary positions" in obstacle(rotary, windowed=True, maps=True)
    assert "steps of 16 pixels, and the encoder's patches 14" in obstacle(rotary, windowed=False, maps=True)
    assert obstacle(rotary, windowed=False, maps=False) == obstacle(ViT(**PLAIN), windowed=True, maps=True) == ""
