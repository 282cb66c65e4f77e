import pytest
import torch
from mmpretrain.structures import DataSample

from mimeval.errors import UserError
from mimeval.pretrain.masking import ParallelMasking
from tests.parity.test_mae_pretrain import build

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
    masks = model.masking(torch.tensor([[0, 0, 0], [0, 0, 1]]), 16)
    stacked = model.encode(inputs, masks)[0].reshape(2, 4, 5, 32)
    patches, _ = model.backbone.embed_patches(inputs)
    for k in range(4):
        visible = patches.gather(1, masks.ids_keep[:, k, :, None].expand(-1, -1, 32))
        torch.testing.assert_close(stacked[:, k], model.backbone.encode(visible)[0], rtol=0, atol=1e-5)


def test_parts_of_unequal_size_predict_as_if_alone(images):
    """16 patches in 5 parts: padding must not reach what the valid tokens see."""
    model = build(**EMAE).eval()
    inputs = images.float() / 64 - 2
    masks = ParallelMasking(5)(torch.tensor([[0, 0, 0], [0, 0, 1]]), 16)
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
    masks = model.masking(torch.tensor([[0, 0, 0], [0, 0, 1]]), 16)
    hidden = masks.mask.reshape(2, 4, 1, 4, 4).repeat_interleave(8, 3).repeat_interleave(8, 4).bool()
    original = pictures["original"][:, None].expand(-1, 4, -1, -1, -1)
    visible = ~hidden.expand_as(original)
    assert torch.equal(pictures["reconstruction"][visible], original[visible])
    assert (pictures["masked"][hidden.expand_as(original)] == 0.5).all()
    assert not torch.equal(pictures["reconstruction"], original)


def test_levels_without_a_target_are_refused():
    from mimeval.pretrain.model import MaskedImageModel

    with pytest.raises(UserError, match="1 decoders, 0 targets"):
        MaskedImageModel({}, {}, decoders=[{}], targets=[], loss={})
