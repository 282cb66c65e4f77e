import pytest
import torch
from mmpretrain.structures import DataSample

from mimeval.errors import UserError
from mimeval.pretrain.masking import ParallelMasking
from mimeval.pretrain.model import MaskedImageModel
from tests.parity.test_mae_pretrain import PREPROCESSOR, build

EMAE = dict(masking=dict(type="mimeval.ParallelMasking", parts=4), regularizers=[dict(type="mimeval.SelfConsistency")])


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)


def keyed(*keys: tuple[int, int, int]) -> list[DataSample]:
    return [DataSample(metainfo=dict(sample_key=key)) for key in keys]


def test_a_training_step_changes_every_trained_parameter(images):
    model = build(**EMAE)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    data = dict(inputs=images, data_samples=keyed((0, 0, 0), (0, 0, 1)))
    losses = model(**model.data_preprocessor(data, training=True), mode="loss")
    assert set(losses) == {"loss_reconstruction", "loss_consistency"}
    model.parse_losses(losses)[0].backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_masks_follow_the_sample_keys(images):
    model = build(**EMAE).eval()
    inputs = model.data_preprocessor(dict(inputs=images))["inputs"]

    def loss(*keys):
        return model(inputs, keyed(*keys), mode="loss")["loss_reconstruction"].item()

    assert loss((0, 0, 0), (0, 0, 1)) == loss((0, 0, 0), (0, 0, 1))
    assert loss((0, 0, 0), (0, 0, 1)) != loss((0, 1, 0), (0, 1, 1))


def test_samples_without_keys_are_refused(images):
    with pytest.raises(UserError, match="sample_key.*SeededDataset"):
        build()(images.float(), [DataSample(), DataSample()], mode="loss")


def test_an_unknown_mode_is_refused(images):
    with pytest.raises(UserError, match="'predict'"):
        build()(images.float(), mode="predict")


def test_stacked_parts_equal_parts_encoded_one_by_one(images):
    model = build(**EMAE).eval()
    inputs = images.float() / 64 - 2
    masks = model.masking(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 4))
    stacked = model.encode(inputs, masks)[0].reshape(2, 4, 5, 32)
    patches, _ = model.backbone.embed_patches(inputs)
    for k in range(4):
        visible = patches.gather(1, masks.ids_keep[:, k, :, None].expand(-1, -1, 32))
        torch.testing.assert_close(stacked[:, k], model.backbone.encode(visible)[0], rtol=0, atol=1e-5)


def test_parts_of_unequal_size_predict_as_if_alone(images):
    """16 patches in 5 parts: padding must not reach what the valid tokens see."""
    model = build(**EMAE).eval()
    inputs = images.float() / 64 - 2
    masks = ParallelMasking(5)(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 4))
    together = model.predict(inputs, masks)[0]
    patches, _ = model.backbone.embed_patches(inputs)
    part = 3  # 3 of at most 4 visible patches
    visible = patches.gather(1, masks.ids_keep[:, part, :3, None].expand(-1, -1, 32))
    latent = model.backbone.encode(visible)[0]
    decoder = model.decoders[0]
    full = decoder.mask_token.repeat(2, 16, 1)
    tokens = decoder.embed(latent)
    full.scatter_(1, masks.ids_keep[:, part, :3, None].expand(-1, -1, 24), tokens[:, 1:])
    sequence = torch.cat([tokens[:, :1], full], dim=1) + decoder.pos_embed
    alone = decoder.pred(decoder.norm(decoder.blocks(sequence)))[:, 1:]
    torch.testing.assert_close(together[:, part], alone, rtol=0, atol=1e-5)


def test_reconstructions_show_visible_patches_as_they_are(images):
    model = build(**EMAE).eval()
    pictures = model.reconstruct(images, torch.tensor([[0, 0, 0], [0, 0, 1]]))
    assert pictures["original"].shape == (2, 3, 32, 32)
    assert pictures["masked"].shape == pictures["reconstruction"].shape == (2, 4, 3, 32, 32)
    torch.testing.assert_close(pictures["original"], images / 255, atol=1e-5, rtol=0)
    masks = model.masking(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 4))
    hidden = masks.mask.reshape(2, 4, 1, 4, 4).repeat_interleave(8, 3).repeat_interleave(8, 4).bool()
    original = pictures["original"][:, None].expand(-1, 4, -1, -1, -1)
    visible = ~hidden.expand_as(original)
    assert torch.equal(pictures["reconstruction"][visible], original[visible])
    assert (pictures["masked"][hidden.expand_as(original)] == 0.5).all()
    assert not torch.equal(pictures["reconstruction"], original)


def two_levels(**changes) -> MaskedImageModel:
    """Raw pixels at 2 and at half the grid of 4 x 4 patches of 8 px, from the two taps of a tiny ViT."""
    arch = dict(embed_dim=8, depth=2, num_heads=2)
    small = dict(type="mimeval.LocalMIMDecoder", embed_dim=8, num_heads=2)
    settings = dict(
        backbone=dict(type="mimeval.VisionTransformer", arch=arch, img_size=32, patch_size=8, taps=(0, 1)),
        masking=dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(small, scale=2), dict(small, scale=0.5)],
        targets=[dict(type="mimeval.PixelTarget", patch_size=side) for side in (4, 16)],
        loss=dict(type="mimeval.MaskedMSE"),
        data_preprocessor=PREPROCESSOR,
    )
    return MaskedImageModel(**{**settings, **changes})


def test_levels_are_summed_each_under_the_mask_of_its_grid(images):
    model = two_levels().eval()
    inputs, keys = images.float() / 64 - 2, torch.tensor([[0, 0, 0], [0, 0, 1]])
    masks = model.masking(keys, model.mask_grid)
    predictions = model.predict(inputs, masks)
    assert [prediction.shape for prediction in predictions] == [(2, 1, 64, 48), (2, 1, 4, 768)]
    hidden = masks.mask.unflatten(2, (4, 4))
    fine = hidden.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2)
    coarse = hidden.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5)).flatten(2)
    assert 0 < coarse.sum() < coarse.numel() and ((coarse > 0) & (coarse < 1)).any()
    expected = 0
    for prediction, target, mask in zip(predictions, model.targets, (fine, coarse), strict=True):
        error = (prediction - target(inputs)[:, None]).square().mean(-1)
        expected = expected + (error * mask).sum() / mask.sum()
    torch.testing.assert_close(model.losses_of(inputs, masks)["loss_reconstruction"], expected)


@pytest.mark.parametrize("first", ["fine", "coarse", "hog"])
def test_the_first_level_of_pixels_is_shown(images, first):
    levels = {"fine": (2, dict(type="mimeval.PixelTarget", patch_size=4))}
    levels["coarse"] = (0.5, dict(type="mimeval.PixelTarget", patch_size=16))
    levels["hog"] = (2, dict(type="mimeval.HOGTarget", cell=4))
    chosen = [levels[first], levels["coarse"]]
    small = dict(type="mimeval.LocalMIMDecoder", embed_dim=8, num_heads=2)
    model = two_levels(
        decoders=[dict(small, scale=scale) for scale, _ in chosen], targets=[target for _, target in chosen]
    ).eval()
    assert model.shown_level == (1 if first == "hog" else 0)
    keys = torch.tensor([[0, 0, 0], [0, 0, 1]])
    pictures = model.reconstruct(images, keys)
    inputs = model.data_preprocessor({"inputs": images})["inputs"]
    level = model.shown_level
    prediction = model.predict(inputs, model.masking(keys, (4, 4)))[level][:, 0]
    made = model._denormalise(model.targets[level].to_images(prediction, inputs))
    hidden = model.masking(keys, (4, 4)).mask.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    expected = pictures["original"] * (1 - hidden) + made * hidden
    torch.testing.assert_close(pictures["reconstruction"][:, 0], expected)


def test_targets_that_are_no_pixels_have_no_pictures(images):
    hog = [dict(type="mimeval.HOGTarget", cell=cell) for cell in (4, 16)]
    model = two_levels(targets=hog)
    assert model.shown_level is None
    with pytest.raises(UserError, match="No target.*found HOGTarget: leave the pictures out"):
        model.reconstruct(images, torch.tensor([[0, 0, 0], [0, 0, 1]]))


def test_images_of_another_size_are_refused():
    model = two_levels()
    with pytest.raises(UserError, match="images have 48 x 32 pixels, but the model is made for 32 x 32"):
        model.loss(torch.zeros(1, 3, 48, 32), torch.tensor([[0, 0, 0]]))


LINEAR = dict(type="mimeval.LinearDecoder")
PIXELS = [dict(type="mimeval.PixelTarget", patch_size=8)] * 2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(decoders=[LINEAR], targets=PIXELS[:1]), "2 levels, one for each of its taps, but there are 1 decoders"),
        (dict(decoders=[LINEAR] * 2, targets=PIXELS), "hands tokens of visible ones only.*LinearDecoder expects every"),
        (dict(encoding=dict(type="mimeval.SubstitutedTokens")), "hands tokens of every patch.*LocalMIMDecoder expects"),
        (
            dict(targets=PIXELS),
            r"decoders.0 \(LocalMIMDecoder\) predicts a grid of 8 x 8 cells, but targets.0 .* 4 x 4",
        ),
        (dict(targets=[dict(type="mimeval.PixelTarget", patch_size=12)] * 2), "patch_size is 12 pixels"),
        (dict(loss=dict(type="mimeval.MaskedCrossEntropy")), "made of values, which MaskedCrossEntropy does not"),
        (dict(regularizers=[dict(type="mimeval.SelfConsistency")]), "at least 3 parts.*not 1"),
        (dict(masking=dict(type="mimeval.RandomMasking", unit=12)), "unit is 12 pixels.*patch size 8"),
        (dict(masking=dict(type="mimeval.RandomMasking", ratio=0.99)), "leaves none of 16 patches visible"),
    ],
)
def test_slots_that_do_not_go_together_are_refused_when_built(changes, match):
    with pytest.raises(UserError, match=match):
        two_levels(**changes)


def test_masks_whose_cells_cross_those_of_a_target_are_refused():
    vit = dict(
        type="mimeval.VisionTransformer", arch=dict(embed_dim=8, depth=2, num_heads=2), img_size=48, patch_size=8
    )
    decoder = dict(type="mimeval.LocalMIMDecoder", embed_dim=8, num_heads=2, scale=0.5)
    with pytest.raises(UserError, match="targets.0 lies on a grid of 3 x 3 cells, the masks on 2 x 2"):
        two_levels(
            backbone=vit,
            masking=dict(type="mimeval.RandomMasking", unit=24, ratio=0.5),
            decoders=[decoder],
            targets=[dict(type="mimeval.PixelTarget", patch_size=16)],
        )


def test_levels_without_a_target_are_refused():
    with pytest.raises(UserError, match="1 decoders, 0 targets"):
        MaskedImageModel({}, {}, decoders=[{}], targets=[], loss={})
