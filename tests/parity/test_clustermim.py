"""Parity with the official ClusterMIM (golden/clustermim): tokens, logits, masked cross-entropy, every gradient."""

import pytest
import torch

from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.tokenizers import BackbonePatches, PatchVectors, write_tokenizer
from mimeval.registry import MODELS
from tests.golden import golden
from tests.parity.record import LARGEST, close, same
from tests.parity.test_mae_pretrain import PREPROCESSOR, our_name

# The official `--token_normalize` is our 'dot'.
DISTANCES = {"cosine": "dot", "euclid": "euclid"}


@MODELS.register_module()
class GivenVectors(PatchVectors):
    """In place of the tokenizer network, which the official release lacks."""

    dim, stride = 12, 16

    def __init__(self, features):
        super().__init__()
        self.features = features

    def describe(self):
        return {"kind": "given"}

    def forward(self, images):
        return self.features


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("clustermim")[0].items()}


def build(arrays, folder, distance: str, smoothing: float = 0.0) -> MaskedImageModel:
    """The official model's weights and centres, each read as a run would read it."""
    file = folder / "centres.safetensors"
    tokenizer = dict(type="mimeval.ClusterTokenizer", num_centres=16, distance=distance)
    counts = torch.ones(16, dtype=torch.int64)
    write_tokenizer(file, arrays["in/centres"], counts, tokenizer, {"kind": "given"}, {})
    vectors = dict(type="mimeval.GivenVectors", features=arrays["in/features"])
    model = MaskedImageModel(
        backbone=dict(
            type="mimeval.VisionTransformer", arch=dict(embed_dim=24, depth=2, num_heads=4), img_size=224, patch_size=16
        ),
        masking=dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(type="mimeval.MAEDecoder", embed_dim=16, depth=2, num_heads=4)],
        targets=[dict(type="mimeval.ClusterTarget", tokenizer=dict(tokenizer, vectors=vectors), centres=str(file))],
        loss=dict(type="mimeval.MaskedCrossEntropy", label_smoothing=smoothing),
        data_preprocessor=PREPROCESSOR,
    )
    model.init_weights()
    state = {our_name(key[len("state/") :]): value for key, value in arrays.items() if key.startswith("state/")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and not [name for name in missing if not name.startswith("data_preprocessor")]
    return model


@pytest.mark.parametrize("branch", DISTANCES)
def test_tokens_are_exact(branch, arrays, tmp_path):
    target = build(arrays, tmp_path, DISTANCES[branch]).targets[0]
    tokens = target(arrays["in/images"])
    assert tokens.dtype == torch.int64
    same("ClusterMIM", "tokens", tokens, arrays[f"{branch}/out/tokens"])


def test_a_true_cosine_is_another_tokenizer(arrays, tmp_path):
    tokens = build(arrays, tmp_path, "cosine").targets[0](arrays["in/images"])
    facts = golden("clustermim")[1]["facts"]["tokens_that_differ"]
    differing = int((tokens != arrays["cosine/out/tokens"]).sum())
    assert differing == facts["cosine_vs_centres_also_normalised"] > 0


def test_mask_latent_and_logits(arrays, tmp_path):
    model = build(arrays, tmp_path, "euclid")
    masks = model.masking.from_noise(arrays["in/noise"], model.mask_grid)
    same("ClusterMIM", "mask", masks.mask[:, 0], arrays["out/mask"])
    close("ClusterMIM", "latent", model.encode(arrays["in/images"], masks)[0], arrays["out/latent"], 1e-5)
    close("ClusterMIM", "logits", model.predict(arrays["in/images"], masks)[0][:, 0], arrays["out/logits"], 1e-5)


@pytest.mark.parametrize("case", ["cosine_ls0", "cosine_ls0.1", "euclid_ls0", "euclid_ls0.1"])
def test_loss_and_every_gradient(case, arrays, tmp_path):
    branch, smoothing = case.split("_ls")
    model = build(arrays, tmp_path, DISTANCES[branch], float(smoothing))
    masks = model.masking.from_noise(arrays["in/noise"], model.mask_grid)
    loss = model.losses_of(arrays["in/images"], masks)["loss_reconstruction"]
    close("ClusterMIM", "loss", loss, arrays[f"{case}/out/loss"].squeeze(), 1e-5)
    prefix = f"{case}/grad/"
    expected = {our_name(key[len(prefix) :]): value for key, value in arrays.items() if key.startswith(prefix)}
    if not expected:
        assert case in ("cosine_ls0.1", "euclid_ls0")  # the file has gradients of the other two
        return
    loss.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained.keys() == expected.keys()
    for name, gradient in expected.items():
        close("ClusterMIM", "every gradient", trained[name], gradient, 1e-5, LARGEST, name)


def test_all_but_the_head_is_mae(arrays, tmp_path):
    """Without its tokenizer, a ClusterMIM file is an MAE file with another head (methods.md 7)."""
    names = set(build(arrays, tmp_path, "euclid").state_dict())
    mae = MaskedImageModel(
        backbone=dict(
            type="mimeval.VisionTransformer", arch=dict(embed_dim=24, depth=2, num_heads=4), img_size=224, patch_size=16
        ),
        masking=dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(type="mimeval.MAEDecoder", embed_dim=16, depth=2, num_heads=4)],
        targets=[dict(type="mimeval.PixelTarget", patch_size=16)],
        loss=dict(type="mimeval.MaskedMSE"),
        data_preprocessor=PREPROCESSOR,
    ).state_dict()
    assert names == set(mae)
    ours = {our_name(key[len("state/") :]): value for key, value in arrays.items() if key.startswith("state/")}
    differing = {name for name, value in ours.items() if value.shape != mae[name].shape}
    assert differing == {"decoders.0.pred.weight", "decoders.0.pred.bias"}


def test_patch_tokens_of_an_official_dino_file(tmp_path):
    """The tokenizer network of the feature configs, which the release names but lacks (golden/family_dino)."""
    arrays, facts = golden("family_dino")
    state = {key[len("state/") :]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("state/")}
    torch.save(state, tmp_path / "dino.pth")
    size = {key: facts["config"][key] for key in ("embed_dim", "depth", "num_heads")}
    vectors = BackbonePatches(
        dict(
            type="mimeval.VisionTransformer",
            arch=size,
            img_size=facts["config"]["img_size"],
            patch_size=facts["config"]["patch_size"],
            pos_embed="learned",
            init_cfg=dict(type="mimeval.Pretrained", checkpoint=str(tmp_path / "dino.pth")),
        )
    )
    vectors.init_weights()
    tokens = torch.from_numpy(arrays["out/tokens"])
    features = vectors(torch.from_numpy(arrays["in/images"]))
    close("DINO", "patch tokens for ClusterMIM", features, tokens[:, 1:], 1e-5)
