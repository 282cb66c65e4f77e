"""Files of self-supervised families, converted by the command line, give the features that their official code computes."""

import pytest
import torch
from mmengine.config import Config

from mimeval.backbones import VisionTransformer
from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.convert import with_heads
from mimeval.checkpoints.formats import families_of, recognise
from mimeval.checkpoints.settings import backbone_settings
from mimeval.cli.main import main
from mimeval.errors import UserError
from mimeval.transfer.checks import check_checkpoints
from tests.checkpoints.families import FILES, family_content, family_file, heads, tensors

# golden/README.md: families I 5e-6, families II 1e-5, both absolute.
FIRST = (
    "dino",
    "dino_full",
    "dinov2",
    "dinov2_reg",
    "dinov2_swiglu",
    "dinov2_train",
    "dinov3",
    "dinov3_swiglu",
    "ibot",
    "ibot_full",
    "mocov3",
    "ijepa",
)
SECOND = ("beit", "beit_finetune", "beit2", "data2vec_vision", "cae", "eva02", "eva02_preln")
TOLERANCE = {f"family_{name}": 5e-6 for name in FIRST} | {f"family_{name}": 1e-5 for name in SECOND}
TOLERANCE["family_eva02"] = 2e-5
EVAS = ("family_eva02", "family_eva02_preln")
BEITS = ("family_beit", "family_beit2", "family_data2vec_vision")
SIZES = ("", "_large", "_small", "_large_rebuilt")
# golden file: switch, and the outputs of the other network in the file.
OTHERS = {
    "family_dino_full": ("container=student", "out_student/"),
    "family_ibot_full": ("container=student", "out_student/"),
    "family_ijepa": ("container=encoder", "out_encoder/"),
    "family_mocov3": ("encoder=momentum", "out_momentum/"),
}


def equal(ours, theirs, tolerance):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def tokens_of(backbone, images):
    """All tokens, registers too; after the final norm, or of the last tap."""
    with torch.inference_mode():
        patches, grid = backbone.embed_patches(images)
        return backbone.encode(patches, grid=grid)[-1]


@pytest.fixture(scope="module", params=TOLERANCE)
def converted(request, tmp_path_factory):
    """The golden file's name, the file as its family writes it, and what `mimeval convert` made of it."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    path = family_file(name, folder)
    said = [text for number in heads(name).values() for text in ("--num-heads", str(number))]
    assert main(["convert", str(path), str(folder / "ours.safetensors"), *said]) == 0
    return name, path, folder / "ours.safetensors"


def test_tokens_at_every_size_through_the_familys_own_resizing(converted):
    name, path, ours = converted
    inputs, outputs = tensors(name, "in/"), tensors(name, "out/")
    kind = {"out_type": "tokens", "taps": (-1,)} if name == "family_beit_finetune" else {}
    compared = []
    for size in SIZES:
        if f"images{size}" not in inputs or f"tokens{size}" not in outputs:
            continue
        images, expected = inputs[f"images{size}"], outputs[f"tokens{size}"]
        # Resized at every forward pass, resized once when loaded, and straight from the family's file.
        for backbone in (
            load_backbone(ours, **kind),
            load_backbone(ours, img_size=tuple(images.shape[-2:]), **kind),
            load_backbone(path, **kind, **heads(name)),
        ):
            equal(tokens_of(backbone, images), expected, TOLERANCE[name])
        compared.append(size)
    # I-JEPA's own code cannot resize its positions.
    assert len(compared) == {"family_ijepa": 1}.get(name, 3 if "images_small" in inputs else 2)


def test_every_block(converted):
    name, _, ours = converted
    outputs = tensors(name, "out/block_")
    backbone = load_backbone(ours, out_type="tokens", taps=tuple(range(len(outputs))))
    assert len(outputs) == len(backbone.blocks)
    with torch.inference_mode():
        patches, grid = backbone.embed_patches(tensors(name, "in/")["images"])
        for number, block in enumerate(backbone.encode(patches, grid=grid)):
            equal(block, outputs[str(number)], TOLERANCE[name])


def test_class_token_and_mean_of_patches(converted):
    name, _, ours = converted
    images, outputs = tensors(name, "in/")["images"], tensors(name, "out/")
    backbone = load_backbone(ours)
    with torch.inference_mode():
        features = backbone(images)[0]
        if "cls" in outputs:
            equal(load_backbone(ours, out_type="cls")(images)[0], outputs["cls"], TOLERANCE[name])
    if backbone.out_type == "tokens":
        first = 0 if name == "family_ijepa" else 1
        equal(features[:, first:].mean(dim=1), outputs["patch_mean"], TOLERANCE[name])
    else:
        equal(features, outputs["pooled"], TOLERANCE[name])


def test_a_transfer_checks_the_file_and_how_its_tokens_are_read(converted):
    name, path, ours = converted
    for file in (path, ours):
        architecture = recognise(read_state(file)).architecture
        for number in heads(name).values():
            architecture = with_heads(file, architecture, number)
        backbone = backbone_settings(architecture)
        backbone["init_cfg"] = dict(type="mimeval.Pretrained", checkpoint=str(file), waive=[], trust_pickle=False)
        neck = dict(type="mimeval.ProbeNeck", tokens="mean", class_token=name != "family_ijepa")
        check_checkpoints([Config(dict(model=dict(backbone=backbone, neck=neck)))])
        neck["class_token"] = not neck["class_token"]
        with pytest.raises(UserError, match="set model.neck.class_token="):
            check_checkpoints([Config(dict(model=dict(backbone=backbone, neck=neck)))])
        backbone["arch"]["depth"] += 1
        with pytest.raises(UserError, match="the checkpoint is ViT width"):
            check_checkpoints([Config(dict(model=dict(backbone=backbone)))])


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_network_of_the_file_by_a_switch(tmp_path, name):
    switch, prefix = OTHERS[name]
    path, images = family_file(name, tmp_path), tensors(name, "in/")["images"]
    backbone = load_backbone(path, switches=[switch], **heads(name))
    equal(tokens_of(backbone, images), tensors(name, prefix)["tokens"], 5e-6)
    assert f"{switch}, as asked" in backbone.load_report.transformations
    assert (tensors(name, prefix)["tokens"] - tensors(name, "out/")["tokens"]).abs().max() > 0.5
    if name == "family_ijepa":
        keep = tensors(name, "in/")["keep"]
        with torch.inference_mode():
            patches, _ = backbone.embed_patches(images)
            kept = backbone.encode(patches.gather(1, keep[..., None].expand(-1, -1, 32)))[0]
        equal(kept, tensors(name, prefix)["tokens_kept"], 5e-6)


@pytest.mark.parametrize(
    ("name", "switches", "expected"),
    [
        *(
            (name, [], "out/")
            for name in (*BEITS, *EVAS, "family_dinov3", "family_dinov2", "family_dinov2_reg", "family_dinov2_train")
        ),
        ("family_ibot_full", ["container=student"], "out_student/"),
    ],
)
def test_the_token_of_hidden_patches_is_kept_and_named(tmp_path, name, switches, expected):
    path, inputs = family_file(name, tmp_path), tensors(name, "in/")
    backbone = load_backbone(path, switches=switches, **heads(name))
    token = recognise(read_state(path), switches).own["encoding.mask_token"]
    with torch.inference_mode():
        patches, grid = backbone.embed_patches(inputs["images"], positions=False)
        hidden = inputs["mask"].flatten(1).bool()[..., None]
        patches = backbone.add_positions(torch.where(hidden, token, patches), grid)
        equal(backbone.encode(patches, grid=grid)[0], tensors(name, expected)["tokens_masked"], TOLERANCE[name])


def test_cae_encodes_visible_patches_only(tmp_path):
    inputs, backbone = tensors("family_cae", "in/"), load_backbone(family_file("family_cae", tmp_path), num_heads=4)
    visible = (1 - inputs["mask"]).bool()
    with torch.inference_mode():
        patches, _ = backbone.embed_patches(inputs["images"])
        tokens = backbone.encode(patches[visible].unflatten(0, (len(visible), -1)))[0]
    equal(tokens, tensors("family_cae", "out/")["tokens_visible"], 1e-5)


def test_a_momentum_copy_in_a_cae_file_is_never_loaded(tmp_path):
    content = family_content("family_cae")
    encoder = {key: tensor for key, tensor in content["model"].items() if key.startswith("encoder.")}
    copy = {key.replace("encoder.", "teacher.", 1): torch.full_like(tensor, 7.0) for key, tensor in encoder.items()}
    torch.save({**content, "model": {**copy, **content["model"]}}, tmp_path / "x.pth")
    backbone = load_backbone(tmp_path / "x.pth", num_heads=4)
    assert set(copy) < set(backbone.load_report.left_over)
    equal(tokens_of(backbone, tensors("family_cae", "in/")["images"]), tensors("family_cae", "out/")["tokens"], 1e-5)


@pytest.mark.parametrize("size", ["", "_large"])
@pytest.mark.parametrize("name", BEITS)
def test_fine_tuning_starts_as_its_official_loader_leaves_it(tmp_path, name, size):
    images, outputs = tensors(name, "in/")[f"images{size}"], tensors(name, "out/")
    shared = name == "family_data2vec_vision"
    backbone = load_backbone(
        family_file(name, tmp_path),
        rel_pos="shared_bias" if shared else "bias",
        img_size=images.shape[-1],
        out_type="mean",
    )
    assert set(backbone.load_report.fresh) == {"fc_norm.weight", "fc_norm.bias"}
    assert backbone.fc_norm.weight.unique() == 1 and backbone.fc_norm.bias.count_nonzero() == 0
    equal(tokens_of(backbone, images), outputs[f"finetune_tokens{size}"], 1e-5)
    tables = {key.removeprefix("resampled/"): table for key, table in outputs.items() if key.startswith("resampled/")}
    for key, table in tables.items() if size else ():
        equal(backbone.state_dict()[key], table, 1e-6)


def test_a_fine_tuned_beit_classifies_as_officially(tmp_path):
    inputs, outputs = tensors("family_beit_finetune", "in/"), tensors("family_beit_finetune", "out/")
    path = family_file("family_beit_finetune", tmp_path)
    own = recognise(read_state(path)).own
    for size in ("", "_large"):
        backbone = load_backbone(path, img_size=inputs[f"images{size}"].shape[-1])
        with torch.inference_mode():
            pooled = backbone(inputs[f"images{size}"])[0]
        equal(pooled, outputs[f"pooled{size}"], 1e-5)
        equal(pooled @ own["head.fc.weight"].t() + own["head.fc.bias"], outputs[f"logits{size}"], 1e-5)


def test_cae_pools_through_its_trained_norm_and_computes_positions_anew(tmp_path):
    inputs, outputs = tensors("family_cae", "in/"), tensors("family_cae", "out/")
    path = family_file("family_cae", tmp_path)
    assert main(["convert", str(path), str(tmp_path / "ours.pth"), "--num-heads", "4"]) == 0
    for size in ("", "_large"):
        for file in (path, tmp_path / "ours.pth"):
            backbone = load_backbone(file, num_heads=4, out_type="mean", img_size=inputs[f"images{size}"].shape[-1])
            assert "norm taken for fc_norm, as its own fine-tuning does" in backbone.load_report.transformations
            with torch.inference_mode():
                equal(backbone(inputs[f"images{size}"])[0], outputs[f"pooled{size}"], 1e-5)
    equal(backbone.pos_embed, outputs["resampled/pos_embed"], 1e-6)
    # Fine-tuned, its names are bare, and are written so.
    state = {key: tensor for key, tensor in recognise(read_state(path)).state.items() if key.startswith("encoder.")}
    tuned = {
        key.removeprefix("encoder.").replace("norm.", "fc_norm.", key.count(".") == 2): t for key, t in state.items()
    }
    tuned |= {"head.weight": torch.ones(7, 32), "head.bias": torch.ones(7)}
    torch.save({"model": tuned}, tmp_path / "tuned.pth")
    assert {"fc_norm.weight", "blocks.0.norm1.weight", "cls_token"} < tuned.keys() and "norm.weight" not in tuned
    backbone = load_backbone(tmp_path / "tuned.pth", num_heads=4)
    with torch.inference_mode():
        equal(backbone(inputs["images"])[0], outputs["pooled"], 1e-5)
    arguments = [str(tmp_path / "tuned.pth"), str(tmp_path / "back.pth"), "--to", "cae", "--num-heads", "4"]
    assert main(["convert", *arguments]) == 0
    back = read_state(tmp_path / "back.pth").state
    assert back.keys() == tuned.keys() and all(torch.equal(back[key], tuned[key]) for key in tuned)


@pytest.mark.parametrize("name", ["family_ibot", "family_ibot_full"])
def test_ibot_pools_through_a_new_norm(tmp_path, name):
    backbone = load_backbone(family_file(name, tmp_path), out_type="mean", **heads(name))
    with torch.inference_mode():
        equal(backbone(tensors(name, "in/")["images"])[0], tensors(name, "out/")["mean_pooling"], 5e-6)


def test_mocov3_computes_positions_anew(tmp_path):
    backbone = load_backbone(family_file("family_mocov3", tmp_path), num_heads=4, img_size=56)
    equal(backbone.pos_embed, tensors("family_mocov3", "out/")["pos_embed_large_rebuilt"], 1e-6)
    assert backbone.load_report.transformations[-1] == "pos_embed resampled 4x4 -> 7x7 sincos_rows"


@pytest.mark.parametrize("converted", [name for name in TOLERANCE if FILES[name][2]], indirect=True)
def test_a_round_trip_by_the_command_line_gives_every_tensor_back(converted, tmp_path):
    name, path, ours = converted
    assert main(["convert", str(ours), str(tmp_path / "back.pth"), "--to", str(FILES[name][2])]) == 0
    back, source = read_state(tmp_path / "back.pth").state, read_state(path).state
    assert back.keys() == source.keys()
    assert all(torch.equal(back[key], source[key]) and back[key].dtype == source[key].dtype for key in source)


@pytest.mark.parametrize("container", ["model", "module", "state_dict", ""])
def test_a_beit_under_any_key(tmp_path, container):
    checkpoint = read_state(family_file("family_beit", tmp_path, container))
    assert [(family.name, key) for family, key in families_of(checkpoint)] == [("beit", container)]


@pytest.mark.parametrize("name", ["family_dino_full", "family_ibot_full"])
def test_a_teacher_with_the_prefix_that_batch_norm_brings(tmp_path, name):
    content = family_content(name)
    content["teacher"] = {f"module.{key}": tensor for key, tensor in content["teacher"].items()}
    torch.save(content, tmp_path / "x.pth")
    images = tensors(name, "in/")["images"]
    equal(tokens_of(load_backbone(tmp_path / "x.pth", **heads(name)), images), tensors(name, "out/")["tokens"], 5e-6)


def plain(**beside):
    """A plain ViT's tensors under MAE's names with learned positions."""
    torch.manual_seed(0)
    state = VisionTransformer(dict(embed_dim=384, depth=1, num_heads=6), img_size=32, patch_size=16).state_dict()
    return state | {"pos_embed": torch.randn(1, 5, 384)} | beside


HEAD = {"head.weight": torch.ones(7, 384), "head.bias": torch.ones(7)}
FIXED = {"pos_embed": VisionTransformer("small", img_size=32).pos_embed.data}
ROWS = {"pos_embed": torch.cat([FIXED["pos_embed"][..., 192:], FIXED["pos_embed"][..., :192]], dim=-1)}


@pytest.mark.parametrize(
    ("container", "beside", "family"),
    [
        ("", {}, "dino"),
        ("teacher", {}, "dino"),
        ("state_dict", {}, "ibot"),
        ("state_dict", {"masked_embed": torch.ones(1, 384)}, "ibot"),
        ("model", {}, "mae"),
        ("", FIXED, "mae"),
        ("state_dict", FIXED, "mae"),
        ("model", HEAD, "deit"),
        ("model", HEAD | {"fc_norm.weight": torch.ones(384), "fc_norm.bias": torch.ones(384)}, "mae"),
        ("model", ROWS, "mocov3"),
        ("state_dict", ROWS | HEAD, "mocov3"),
        ("", ROWS, "mocov3"),
    ],
)
def test_a_plain_vit_belongs_to_one_family(tmp_path, container, beside, family):
    """Families with one set of names are told apart by the key, by what stands beside, and by fixed or learned positions."""
    state = plain(**beside)
    torch.save({container: state} if container else state, tmp_path / "x.pth")
    checkpoint = read_state(tmp_path / "x.pth")
    assert [known.name for known, _ in families_of(checkpoint)] == [family]
    report = load_backbone(tmp_path / "x.pth").load_report
    assert (report.family, report.fresh, len(report.loaded)) == (family, {}, 18)
    # MoCo v3's small has 12 heads, every other one 6.
    assert report.architecture.num_heads == (12 if family == "mocov3" else 6)


def test_a_distilled_deit_is_refused_but_for_a_waiver(tmp_path):
    table = torch.randn(1, 6, 384)
    extra = {"dist_token": torch.randn(1, 1, 384), "head_dist.weight": torch.ones(7, 384), "pos_embed": table}
    torch.save({"model": plain(**HEAD, **extra)}, tmp_path / "distilled.pth")
    assert [known.name for known, _ in families_of(read_state(tmp_path / "distilled.pth"))] == ["deit"]
    with pytest.raises(
        UserError, match=r"family deit\) .* 1 unexpected \(dist_token\); .*--waive 'unexpected:dist_token'"
    ):
        load_backbone(tmp_path / "distilled.pth")
    backbone = load_backbone(tmp_path / "distilled.pth", waive=["unexpected:dist_token"])
    assert backbone.load_report.waived == {"unexpected:dist_token": ["dist_token"]}
    assert torch.equal(backbone.pos_embed, torch.cat([table[:, :1], table[:, 2:]], dim=1))
    # Converted, it keeps its token, and is refused again.
    assert main(["convert", str(tmp_path / "distilled.pth"), str(tmp_path / "ours.safetensors")]) == 0
    own = read_state(tmp_path / "ours.safetensors").state
    assert torch.equal(own["backbone.dist_token"], extra["dist_token"] + table[:, 1:2])
    with pytest.raises(UserError, match=r"1 unexpected \(backbone.dist_token\)"):
        load_backbone(tmp_path / "ours.safetensors")
