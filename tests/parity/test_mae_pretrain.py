"""Parity with the official MAE (golden/mae_pretrain): same weights and noise in, same numbers out, gradients included."""

import pytest
import torch

from mimeval.pretrain.model import MaskedImageModel
from tests.golden import golden
from tests.parity.record import LARGEST, close, same

PREPROCESSOR = dict(type="mmengine.ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
DECODER_NAMES = {
    "mask_token": "mask_token",
    "decoder_pos_embed": "pos_embed",
    "decoder_embed": "embed",
    "decoder_blocks": "blocks",
    "decoder_norm": "norm",
    "decoder_pred": "pred",
}


def our_name(official: str) -> str:
    head, _, tail = official.partition(".")
    if head in DECODER_NAMES:
        return ".".join(filter(None, ["decoders.0", DECODER_NAMES[head], tail]))
    return f"backbone.{official}"


def build(norm_pix: bool = True, masking: dict | None = None, regularizers=()) -> MaskedImageModel:
    return MaskedImageModel(
        backbone=dict(
            type="mimeval.VisionTransformer",
            arch=dict(embed_dim=32, depth=3, num_heads=4),
            img_size=32,
            patch_size=8,
        ),
        masking=masking or dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(type="mimeval.MAEDecoder", embed_dim=24, depth=2, num_heads=4)],
        targets=[dict(type="mimeval.PixelTarget", patch_size=8, norm_pix=norm_pix)],
        loss=dict(type="mimeval.MaskedMSE"),
        regularizers=regularizers,
        data_preprocessor=PREPROCESSOR,
    )


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("mae_pretrain")[0].items()}


def load(model: MaskedImageModel, arrays) -> MaskedImageModel:
    state = {our_name(key[len("state/") :]): value for key, value in arrays.items() if key.startswith("state/")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and not [name for name in missing if not name.startswith("data_preprocessor")]
    return model


def assert_close(quantity, ours, theirs):
    close("MAE", quantity, ours, theirs, 1e-5)


def test_mask_latent_prediction_target_and_losses(arrays):
    model = load(build(), arrays)
    masks = model.masking.from_noise(arrays["in/noise"], (4, 4))
    same("MAE", "mask", masks.mask[:, 0], arrays["out/mask"])
    assert_close("latent", model.encode(arrays["in/images"], masks)[0], arrays["out/latent"])
    assert_close("prediction", model.predict(arrays["in/images"], masks)[0][:, 0], arrays["out/pred"])
    assert_close("target", model.targets[0](arrays["in/images"]), arrays["out/target_norm_pix"])
    loss = model.losses_of(arrays["in/images"], masks)["loss_reconstruction"]
    assert_close("loss", loss, arrays["out/loss"].squeeze())
    raw = load(build(norm_pix=False), arrays)
    loss = raw.losses_of(arrays["in/images"], masks)["loss_reconstruction"]
    assert_close("loss, raw pixels", loss, arrays["out/loss_raw_pixels"].squeeze())


def test_every_gradient(arrays):
    model = load(build(), arrays)
    masks = model.masking.from_noise(arrays["in/noise"], (4, 4))
    model.losses_of(arrays["in/images"], masks)["loss_reconstruction"].backward()
    expected = {our_name(key[len("grad/") :]): value for key, value in arrays.items() if key.startswith("grad/")}
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained.keys() == expected.keys()
    for name, gradient in expected.items():
        close("MAE", "every gradient", trained[name], gradient, 1e-5, LARGEST, name)


def test_low_contrast_pins_the_epsilon_of_the_target(arrays):
    model = load(build(), arrays)
    masks = model.masking.from_noise(arrays["in/noise"], (4, 4))
    images = (
        arrays["lowcontrast/in/images"] if "lowcontrast/in/images" in arrays else arrays["in/images"] * 2**-7 + 0.25
    )
    losses = model.losses_of(images, masks)
    assert_close("loss, low contrast", losses["loss_reconstruction"], arrays["lowcontrast/out/loss"].squeeze())


def test_one_part_of_emae_is_mae_on_the_same_mask(arrays):
    """Each of EMAE's K parts costs what MAE costs under that part's mask; the sum weighs hidden patches equally."""
    parallel = load(build(masking=dict(type="mimeval.ParallelMasking", parts=4)), arrays)
    masks = parallel.masking.from_noise(arrays["in/noise"], (4, 4))
    # The first part shows the patches of least noise: exactly MAE's mask.
    same("EMAE", "first part's mask and MAE's", masks.mask[:, 0], arrays["out/mask"])
    prediction = parallel.predict(arrays["in/images"], masks)[0][:, 0]
    close("EMAE", "first part's prediction and MAE's", prediction, arrays["out/pred"], 1e-5)
    whole = parallel.losses_of(arrays["in/images"], masks)["loss_reconstruction"]
    single = load(build(), arrays)
    parts = []
    for k in range(4):
        order = torch.cat([masks.ids_keep[:, k], *(masks.ids_keep[:, j] for j in range(4) if j != k)], dim=1)
        alone = single.masking.from_noise(order.argsort(1).float(), (4, 4))
        assert torch.equal(alone.mask[:, 0], masks.mask[:, k])
        parts.append(single.losses_of(arrays["in/images"], alone)["loss_reconstruction"])
    close("EMAE", "loss and the mean of MAE's for each part's mask", whole, torch.stack(parts).mean(), 1e-5)
