import pytest
import torch
from mmengine.model import BaseModule
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.errors import UserError
from mimeval.registry import MODELS

ARCH = dict(embed_dim=32, depth=4, num_heads=4)


def vit(arch=ARCH, img_size=32, patch_size=8, **settings):
    torch.manual_seed(0)
    model = VisionTransformer(arch, img_size=img_size, patch_size=patch_size, **settings)
    # Away from zeros and ones, so that no parameter can be ignored without a difference.
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def images(height=32, width=32, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def timm_twin(model, img_size=32, **settings):
    twin = TimmViT(img_size=img_size, patch_size=8, num_classes=0, **ARCH, **settings)
    missing, unexpected = twin.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and not [name for name in missing if not name.startswith("norm.")]
    return twin.eval()


# --- the same numbers as timm


@pytest.mark.parametrize("taps", [(0, 1, 2, 3), (3, 1), (-1,)])
def test_taps_equal_timms_intermediate_layers_bit_for_bit(taps):
    model = vit(out_type="maps", taps=taps).eval()
    in_order = [i % 4 for i in taps]
    theirs = timm_twin(model).get_intermediate_layers(images(), n=in_order, reshape=True)
    ours = dict(zip(in_order, model(images()), strict=True))
    assert all(torch.equal(ours[i], map_) for i, map_ in zip(sorted(in_order), theirs, strict=True))


@pytest.mark.parametrize("out_type, pool", [("tokens", ""), ("cls", "token"), ("mean", "avg")])
def test_final_features_equal_timms_bit_for_bit(out_type, pool):
    model = vit(out_type=out_type).eval()
    assert torch.equal(model(images())[0], timm_twin(model, global_pool=pool)(images()))


def test_a_size_that_is_not_square_equals_timm_bit_for_bit():
    model = vit(img_size=(24, 40)).eval()
    assert torch.equal(model(images(24, 40))[0], timm_twin(model, img_size=(24, 40), global_pool="")(images(24, 40)))


def test_a_norm_for_each_tap():
    plain, normed = vit(taps=(1, 3)), vit(taps=(1, 3), tap_norm=True)
    normed.load_state_dict(plain.state_dict(), strict=False)
    for k, (tap, tap_normed) in enumerate(zip(plain(images()), normed(images()), strict=True)):
        assert torch.equal(normed.tap_norms[k](tap), tap_normed)
    assert {name for name in normed.state_dict() if "tap_norms" in name} == {
        f"tap_norms.{k}.{kind}" for k in (0, 1) for kind in ("weight", "bias")
    }


def test_blocks_above_the_highest_tap_are_neither_run_nor_trained():
    model = vit(out_type="maps", taps=(0, 1))
    model.blocks[2].register_forward_hook(lambda *_: pytest.fail("block 2 ran"))
    sum(map_.sum() for map_ in model(images())).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[1] for name in trained if name.startswith("blocks")} == {"0", "1"}


# --- visible tokens only


def test_encoding_all_patches_is_the_forward_pass():
    model = vit()
    patches, grid = model.embed_patches(images())
    assert grid == (4, 4) and torch.equal(model.encode(patches)[0], model(images())[0])


def test_padding_changes_nothing_at_the_valid_places():
    model = vit(taps=(1, 3)).eval()
    patches, _ = model.embed_patches(images())
    short, long = patches[:1, :5], patches[1:, 3:12]
    padded = torch.cat([torch.cat([short, torch.full((1, 4, 32), 1e3)], dim=1), long])
    key_valid = torch.tensor([[True] * 5 + [False] * 4, [True] * 9])
    for tap in range(2):
        together = model.encode(padded, key_valid)[tap]
        torch.testing.assert_close(together[:1, :6], model.encode(short)[tap], rtol=0, atol=1e-5)
        torch.testing.assert_close(together[1:], model.encode(long)[tap], rtol=0, atol=1e-5)


def test_padding_gets_no_gradient():
    model = vit()
    patches = torch.randn(1, 6, 32, requires_grad=True)
    key_valid = torch.tensor([[True, True, True, True, False, False]])
    model.encode(patches, key_valid)[0][:, :5].sum().backward()
    assert patches.grad[:, 4:].abs().max() == 0 and patches.grad[:, :4].abs().min(dim=-1).values.max() > 0


@pytest.mark.parametrize("rel_pos", ["bias", "shared_bias"])
def test_relative_positions_refuse_a_subset_of_the_patches(rel_pos):
    model = vit(rel_pos=rel_pos)
    patches, _ = model.embed_patches(images())
    with pytest.raises(UserError, match="need every patch of the 4 x 4 grid, found 5 patches"):
        model.encode(patches[:, :5])
    with pytest.raises(UserError, match="found padded ones"):
        model.encode(patches, torch.ones(2, 16, dtype=torch.bool))


# --- inputs of any size


@pytest.mark.parametrize("settings", [{}, dict(rel_pos="bias"), dict(rel_pos="shared_bias", pos_embed="none")])
def test_an_input_that_is_not_square(settings):
    model = vit(out_type="maps", taps=(1, 3), init_values=0.1, **settings)
    assert [map_.shape for map_ in model(images(40, 24))] == [(2, 32, 5, 3)] * 2
    patches, grid = model.embed_patches(images(40, 24))
    # Row-major: the third patch of the second row sees only pixels of that place.
    changed = images(40, 24)
    changed[:, :, 8:16, 16:24] += 1
    moved = (model.embed_patches(changed)[0] - patches).abs().sum(dim=(0, 2)) > 0
    assert grid == (5, 3) and moved.nonzero().tolist() == [[5]]


def test_maps_pad_to_whole_patches_and_others_refuse():
    model = vit(out_type="maps")
    padded = torch.zeros(2, 3, 40, 32)
    padded[:, :, :33, :27] = images(33, 27)
    assert torch.equal(model(images(33, 27))[0], model(padded)[0])
    with pytest.raises(UserError, match="33 x 27 pixels, expected multiples of the patch size 8"):
        vit()(images(33, 27))


# --- training


def test_gradient_checkpointing_gives_equal_gradients():
    windows = [dict(out_type="maps", rel_pos=rel_pos, window_size=3) for rel_pos in ("decomposed", "window_bias")]
    for settings in ({}, dict(rel_pos="shared_bias"), *windows):
        gradients = []
        for grad_checkpointing in (False, True):
            model = vit(grad_checkpointing=grad_checkpointing, drop_path_rate=0.5, **settings)
            runs = []
            model.blocks[0].register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
            torch.manual_seed(3)
            model(images())[0].square().mean().backward()
            assert len(runs) == 1 + grad_checkpointing  # once more in the backward pass
            gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
        assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_every_trained_parameter_gets_a_gradient():
    # What is left without one stops DistributedDataParallel.
    cases = (
        dict(out_type="tokens"),
        dict(out_type="tokens", taps=(0, -1), tap_norm=True),
        dict(out_type="maps", rel_pos="window_bias", window_size=3, global_blocks=(3,)),
        dict(out_type="cls", rel_pos="bias", init_values=0.1),
        dict(out_type="mean", rel_pos="shared_bias", pos_trainable=True),
        dict(out_type="maps", taps=(0, 2, 3)),
        dict(out_type="maps", rel_pos="decomposed", window_size=3, global_blocks=(-1,), pos_embed="learned"),
    )
    for settings in cases:
        model = vit(**settings)
        sum((y * torch.randn_like(y)).sum() for y in model(images())).backward()
        without = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert not without, (settings, without)


def test_drop_path_grows_with_depth_and_stops_in_eval():
    model = vit(drop_path_rate=0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert not torch.equal(model(images())[0], model(images())[0])
    model.eval()
    assert torch.equal(model(images())[0], model(images())[0])


def test_a_frozen_backbone_stays_in_eval_and_without_gradients():
    model = nn.Sequential(vit(frozen=True, drop_path_rate=0.5), nn.Identity())
    model.train()
    assert not any(module.training for module in model[0].modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model(images())[0], model(images())[0]) and not model(images())[0].requires_grad


# --- initialisation


def test_initial_weights_are_maes():
    torch.manual_seed(0)
    model = VisionTransformer("tiny", img_size=32, patch_size=4, rel_pos="bias", init_values=0.1)
    for name, parameter in model.named_parameters():
        if name == "patch_embed.proj.weight":
            # Xavier over the flattened kernel: 192 outputs, 3 * 4 * 4 inputs.
            assert parameter.abs().max() <= (6 / (192 + 48)) ** 0.5
            assert parameter.std().item() == pytest.approx((2 / (192 + 48)) ** 0.5, rel=0.02)
        elif name == "patch_embed.proj.bias":
            assert 0 < parameter.abs().max() <= 48**-0.5
        elif name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")):
            assert parameter.std().item() == pytest.approx((2 / sum(parameter.shape)) ** 0.5, rel=0.02)
        elif name == "cls_token":
            assert parameter.std().item() == pytest.approx(0.02, rel=0.2)
        elif name.endswith("gamma"):
            assert parameter.eq(0.1).all()
        elif "norm" in name and name.endswith("weight"):
            assert parameter.eq(1).all()
        elif name != "pos_embed":
            assert name.endswith(("bias", "relative_position_bias_table")) and not parameter.any(), name


def test_learned_positions_start_small_and_are_trained():
    model = VisionTransformer(ARCH, img_size=64, patch_size=8, pos_embed="learned")
    assert model.pos_embed.requires_grad and model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert VisionTransformer(ARCH, img_size=32, patch_size=8, pos_embed="none").pos_embed is None


def test_mmengine_initialises_it_once_and_init_cfg_comes_last():
    class Parent(BaseModule):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone

    settings = dict(arch=ARCH, img_size=32, patch_size=8, init_cfg=dict(type="Constant", layer="LayerNorm", val=3.0))
    parent = Parent(MODELS.build(dict(type="VisionTransformer", **settings)))
    before = parent.backbone.blocks[0].attn.qkv.weight.clone()
    parent.init_weights()
    assert parent.backbone.norm.weight.eq(3).all() and not torch.equal(
        parent.backbone.blocks[0].attn.qkv.weight, before
    )

    assert parent.backbone.is_init
    loaded = Parent(MODELS.build(dict(type="VisionTransformer", **settings)))
    loaded.backbone.is_init = True  # as after loading a checkpoint
    loaded.init_weights()
    assert loaded.backbone.norm.weight.eq(1).all()


# --- layer decay


EXPECTED_IDS = {
    "cls_token": 0,
    "pos_embed": 0,
    "mask_token": 0,
    "patch_embed.proj.weight": 0,
    "patch_embed.proj.bias": 0,
    "blocks.0.norm1.weight": 1,
    "blocks.0.attn.qkv.bias": 1,
    "blocks.0.attn.rel_pos_h": 1,
    "blocks.1.attn.relative_position_bias_table": 2,
    "blocks.1.ls1.gamma": 2,
    "blocks.3.mlp.fc2.weight": 4,
    "norm.weight": 5,
    "fc_norm.bias": 5,
    "tap_norms.0.weight": 5,
    "rel_pos_bias.relative_position_bias_table": 5,
}


def test_layer_ids():
    model = vit()
    assert {name: model.layer_id(name) for name in EXPECTED_IDS} == EXPECTED_IDS and model.num_layers == 6


@pytest.mark.parametrize("name", ["head.weight", "blocks.4.norm1.weight", "blocks.x.y", "blocks", "normal", "backbone"])
def test_a_name_that_no_rule_knows_is_an_error(name):
    with pytest.raises(KeyError, match=name):
        vit().layer_id(name)


@pytest.mark.parametrize("rel_pos", ["bias", "shared_bias", "decomposed", "window_bias"])
def test_every_parameter_has_a_layer_id(rel_pos):
    window = 2 if rel_pos == "window_bias" else 0
    model = vit(out_type="maps", taps=(1, 3), tap_norm=True, rel_pos=rel_pos, init_values=0.1, window_size=window)
    assert {model.layer_id(name) for name, _ in model.named_parameters()} == {0, 1, 2, 3, 4, 5}
    assert model.no_weight_decay() == {"pos_embed", "cls_token"}


# --- sizes and settings


@pytest.mark.parametrize(
    "arch, patch_size, millions",
    [("tiny", 16, 5.5), ("small", 16, 21.7), ("base", 16, 85.8), ("large", 16, 303.3), ("huge", 14, 630.8)],
)
def test_sizes(arch, patch_size, millions):
    with torch.device("meta"):
        model = VisionTransformer(arch, patch_size=patch_size)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert model.out_channels == (model.embed_dim,) and model.strides == (patch_size,)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(arch="giant"), "arch must be one of tiny, small, base, large, huge, found 'giant'"),
        (dict(arch=dict(embed_dim=32, depth=2)), "arch needs embed_dim, depth, num_heads"),
        (dict(arch=dict(embed_dim=32, depth=2, num_heads=5)), "must be a multiple of num_heads"),
        (dict(arch=dict(embed_dim=30, depth=2, num_heads=5)), "multiple of 4 for 2-D sin-cos positions, found 30"),
        (dict(img_size=30), "img_size must be a multiple of patch_size 8, found 30"),
        (dict(out_type="featmap"), "out_type must be one of tokens, cls, mean, maps, found 'featmap'"),
        (dict(rel_pos="rope"), "rel_pos must be one of none, decomposed, .*, rotary, rotary_centred, found 'rope'"),
        (dict(pos_embed="rope"), "pos_embed must be one of"),
        (dict(out_type="maps", taps=(0, 4)), r"taps must be different blocks of 0 to 3, found \[0, 4\]"),
        (dict(out_type="maps", taps=(3, -1)), "taps must be different blocks"),
        (dict(out_type="cls", taps=(0,)), "taps go with out_type 'tokens' or 'maps', found out_type 'cls'"),
        (dict(tap_norm=True), "tap_norm is one norm for each tap"),
        (dict(window_size=2), "have no class token: expected out_type 'maps' or 'mean'"),
        (dict(out_type="maps", window_size=2, rel_pos="bias"), "have no class token"),
        (dict(out_type="maps", rel_pos="window_bias"), "has a table for windows, found window_size 0"),
        (dict(out_type="maps", window_size=2, global_blocks=(9,)), "global_blocks must be different blocks of 0 to 3"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        VisionTransformer(**{"arch": ARCH, "img_size": 32, "patch_size": 8, **settings})


# --- precision and compilation

VARIANTS = [
    dict(out_type="mean", drop_path_rate=0.1),
    dict(out_type="maps", taps=(1, 3), tap_norm=True, rel_pos="decomposed", window_size=3, global_blocks=(3,)),
    dict(out_type="maps", rel_pos="window_bias", window_size=3, global_blocks=(3,)),
    dict(out_type="cls", rel_pos="bias", init_values=0.1),
    dict(out_type="tokens", rel_pos="shared_bias", pos_embed="none"),
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: s.get("rel_pos", "plain"))
def test_bf16_autocast_stays_close_and_trains(settings):
    model = vit(**settings).eval()
    exact = model(images(40, 24))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images(40, 24))
        loss = sum((y.float() * torch.randn_like(y, dtype=torch.float32)).sum() for y in outputs)
    loss.backward()
    for ours, expected in zip(outputs, exact, strict=True):
        assert (ours - expected).abs().max() < 0.05 * expected.abs().max()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)


@pytest.mark.parametrize("settings", [{}, dict(out_type="maps", rel_pos="decomposed", window_size=3)])
def test_compiles_as_one_graph(settings):
    model = vit(dict(embed_dim=32, depth=1, num_heads=4), **settings).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for ours, expected in zip(compiled(images(40, 24)), model(images(40, 24)), strict=True):
        assert torch.equal(ours, expected)


def test_registers_take_part_and_are_not_shown():
    model = vit(registers=3).eval()
    tokens = model(images())[0]
    assert tokens.shape == (2, 17, 32)
    assert model.encode(*model.embed_patches(images())[:1])[0].shape == (2, 20, 32)
    # timm's, whose position table has a row for the class token here and none for registers.
    twin = TimmViT(img_size=32, patch_size=8, num_classes=0, reg_tokens=3, no_embed_class=True, **ARCH)
    state = dict(model.state_dict())
    table = state.pop("pos_embed")
    state["cls_token"] = state["cls_token"] + table[:, :1]
    twin.load_state_dict(state | {"pos_embed": table[:, 1:]})
    theirs = twin.eval().forward_features(images())
    torch.testing.assert_close(torch.cat([theirs[:, :1], theirs[:, 4:]], dim=1), tokens, atol=1e-5, rtol=0)
    model(images())[0].sum().backward()
    assert model.reg_token.grad.abs().sum() > 0 and not model.takes_subsets
    assert model.layer_id("reg_token") == 0 and "reg_token" in model.no_weight_decay()
    maps = vit(registers=3, out_type="maps")(images())[0]
    assert maps.shape == (2, 32, 4, 4)


def test_without_a_class_token():
    model = vit(class_token=False)
    assert "cls_token" not in model.state_dict() and model(images())[0].shape == (2, 16, 32)
    assert vit(class_token=False, out_type="mean")(images())[0].shape == (2, 32)
    assert model.takes_subsets and model.encode(torch.randn(2, 5, 32))[0].shape == (2, 5, 32)


def test_swiglu_gates_by_silu_of_the_first_half():
    model = vit(arch=dict(ARCH, mlp_ratio=2.75), mlp="swiglu")
    mlp = model.blocks[0].mlp
    assert mlp.fc1.out_features == 88 and mlp.fc2.in_features == 44
    x = torch.randn(2, 5, 32)
    gate, value = mlp.fc1(x).chunk(2, dim=-1)
    torch.testing.assert_close(mlp(x), mlp.fc2(nn.functional.silu(gate) * value))


def test_other_sizes_go_by_the_way_that_is_set():
    model = vit(rel_pos="bias", pos_embed="none", table_resample="geometric").eval()
    plain = vit(rel_pos="bias", pos_embed="none").eval()
    plain.load_state_dict(model.state_dict())
    larger = images(48, 40)
    assert torch.equal(model(images())[0], plain(images())[0])
    assert not torch.equal(model(larger)[0], plain(larger)[0])
    plain.set_resampling("bicubic", "geometric")
    assert torch.equal(model(larger)[0], plain(larger)[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(class_token=False, out_type="cls"), "go with a class token"),
        (dict(class_token=False, rel_pos="bias"), "go with a class token"),
        (dict(registers=2, out_type="maps", window_size=2), "go with a class token"),
        (dict(registers=2, rel_pos="shared_bias"), "registers have no relative biases"),
        (dict(mlp="relu"), "mlp must be one of gelu, swiglu"),
        (dict(pos_resample="nearest"), "pos_resample must be one of bicubic, bicubic_offset"),
        (dict(table_resample="nearest"), "table_resample must be one of bicubic, geometric"),
    ],
)
def test_settings_that_do_not_go_together(settings, said):
    with pytest.raises(UserError, match=said):
        vit(**settings)
