"""The official MAE encoder on visible patches only, from the official noise."""

import torch

from mimeval.backbones import VisionTransformer
from tests.golden import golden
from tests.parity.record import close

DECODER = ("decoder_", "mask_token")


def test_latent_of_the_visible_patches():
    arrays = {key: torch.from_numpy(value) for key, value in golden("mae_pretrain")[0].items()}
    state = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    model = VisionTransformer(dict(embed_dim=32, depth=3, num_heads=4), img_size=32, patch_size=8)
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith(DECODER)}, strict=True)

    patches, grid = model.embed_patches(arrays["in/images"])
    ids_keep = arrays["in/noise"].argsort(dim=1)[:, : grid[0] * grid[1] // 4]
    visible = patches.gather(1, ids_keep[..., None].expand(-1, -1, 32))
    (latent,) = model.encode(visible)
    close("MAE", "encoder on visible patches", latent, arrays["out/latent"], 1e-5)


def test_initial_positions_are_the_official_ones():
    arrays, _ = golden("mae_pretrain")
    model = VisionTransformer(dict(embed_dim=32, depth=1, num_heads=4), img_size=32, patch_size=8)
    official = torch.from_numpy(arrays["state/pos_embed"])
    close("MAE", "positions", model.pos_embed.data, official, 1e-6)
    assert not model.pos_embed.requires_grad
