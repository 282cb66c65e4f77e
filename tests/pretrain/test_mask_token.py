"""MTO's reconstruction: its terms by hand, the host bit for bit without them, and what it refuses."""

import copy
import itertools

import pytest
import torch

from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.sharding import shard
from mimeval.errors import UserError
from mimeval.pretrain.mask_token import CAVEAT, MaskTokenOptimization
from mimeval.pretrain.model import MaskedImageModel

NOTHING = dict(w_spa=0.0, w_e=0.0, w_r=0.0, temperature=0.1, margin=0.01, early=0.5, threshold=None)
KEYS = torch.tensor([[0, 0, 0], [0, 0, 1]])
VIT = dict(type="mimeval.VisionTransformer", arch=dict(embed_dim=16, depth=3, num_heads=2), img_size=32, patch_size=8)
MAE_DECODER = dict(type="mimeval.MAEDecoder", embed_dim=12, depth=2, num_heads=2)
LOCAL_DECODER = dict(type="mimeval.LocalMIMDecoder", embed_dim=8, depth=1, num_heads=2)
PIXELS = dict(type="mimeval.PixelTarget", patch_size=8)
RANDOM = dict(type="mimeval.RandomMasking", ratio=0.75)
MSE = dict(type="mimeval.MaskedMSE")
HOSTS = {
    "MAE": dict(backbone=VIT, masking=RANDOM, decoders=[MAE_DECODER], targets=[PIXELS], loss=MSE),
    "EMAE": dict(
        backbone=VIT,
        masking=dict(type="mimeval.ParallelMasking", parts=3),  # unequal parts: 6, 5 and 5 of 16 patches
        decoders=[MAE_DECODER],
        targets=[PIXELS],
        loss=MSE,
        regularizers=[dict(type="mimeval.SelfConsistency")],
    ),
    "SimMIM": dict(
        backbone=dict(VIT, pos_embed="none", rel_pos="shared_bias", k_bias=False, init_values=0.1, drop_path_rate=0.2),
        masking=dict(type="mimeval.RandomMasking", ratio=0.6, unit=8),
        encoding=dict(type="mimeval.SubstitutedTokens"),
        decoders=[dict(type="mimeval.LinearDecoder")],
        targets=[dict(PIXELS, norm_pix=False)],
        loss=dict(type="mimeval.MaskedL1"),
    ),
    "LocalMIM": dict(
        backbone=dict(VIT, taps=(0, 2), tap_norm=True),
        masking=RANDOM,
        decoders=[dict(LOCAL_DECODER, scale=scale) for scale in (2, 0.5)],
        targets=[dict(type="mimeval.HOGTarget", cell=cell, nbins=4) for cell in (4, 16)],
        loss=MSE,
    ),
}


def make(host: str, mto: dict | None = None, **changes) -> MaskedImageModel:
    """The same initial weights with and without MTO, which has none of its own."""
    torch.manual_seed(0)
    return MaskedImageModel(
        **HOSTS[host] | changes, mask_token=mto and dict(type="mimeval.MaskTokenOptimization", **mto)
    )


def images(seed: int = 1) -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def losses(model: MaskedImageModel, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)  # of drop path
    return model.losses_of(images(seed), model.masking(KEYS, model.mask_grid))


def train(model: MaskedImageModel, steps: int = 3):
    """Losses, gradients and weights of each step."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    history = []
    for step in range(steps):
        optimizer.zero_grad()
        found = losses(model, seed=step)
        sum(found.values()).backward()
        gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()
        history.append((found, gradients, copy.deepcopy(model.state_dict())))
    return history


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (tensor is None and ours[name] is None) or torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("host", HOSTS)
def test_without_weights_and_threshold_it_is_the_host_bit_for_bit(host):
    plain, with_mto = make(host), make(host, NOTHING)
    masks = plain.masking(KEYS, plain.mask_grid)
    for model in (plain, with_mto):
        model.eval()
    for a, b in zip(with_mto.predict(images(), masks), plain.predict(images(), masks), strict=True):
        assert torch.equal(a, b)
    for ours, theirs in zip(train(with_mto.train()), train(plain.train()), strict=True):
        for part, expected in zip(ours, theirs, strict=True):
            assert_same(part, expected)


@pytest.mark.parametrize("host", HOSTS)
def test_the_losses_leave_the_hosts_own_as_they_are(host):
    """Read beside the blocks, not in them: predictions, loss and its gradients are those of the host, bit for bit."""
    plain, with_mto = make(host), make(host, NOTHING | dict(w_spa=0.3, w_e=0.3, w_r=0.3))
    found, expected = losses(with_mto), losses(plain)
    assert found.keys() - expected.keys() == {"loss_spa", "loss_e", "loss_r"}
    assert_same({name: found[name] for name in expected}, expected)
    for own in (found, expected):
        sum(own[name] for name in expected).backward()
    assert_same(*({n: p.grad for n, p in model.named_parameters()} for model in (with_mto, plain)))


def attention(block, x, bias):
    """[N, heads, n, n], written out."""
    attn = block.attn
    q, k, _ = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (logits if bias is None else logits + bias).softmax(-1)


def sites_of(model):
    """For each site its blocks."""
    return [model.backbone.blocks] if model.encoding.complete else [decoder.blocks for decoder in model.decoders]


def record(model, masks):
    """For each site the inputs of its blocks and the last one's output."""
    recorded, handles = [], []
    for blocks in sites_of(model):
        sequence = []
        recorded.append(sequence)
        for block in blocks:
            handles.append(block.register_forward_pre_hook(lambda module, args, s=sequence: s.append(args[0])))
        handles.append(blocks[-1].register_forward_hook(lambda module, args, out, s=sequence: s.append(out)))
    model.predict(images(), masks)
    for handle in handles:
        handle.remove()
    return recorded


def expected_terms(model, settings):
    """The three losses of methods.md, image by image and token by token."""
    masks = model.masking(KEYS, model.mask_grid)
    hidden = masks.weights(model.backbone.grid).flatten(0, 1).bool()
    bias = None if model.backbone.rel_pos_bias is None else model.backbone.rel_pos_bias(model.backbone.grid)[0]
    spa, first, rises = [], [], []
    for blocks, sequence in zip(sites_of(model), record(model, masks), strict=True):
        early = max(1, round(len(blocks) * settings["early"]))
        for n, m in enumerate(hidden):
            curve = []
            for x in sequence:
                z = torch.nn.functional.normalize(x[n, 1:].double(), dim=-1)
                entropies = []
                for i in m.nonzero().flatten():
                    p = torch.softmax(torch.stack([z[i] @ z[v] for v in (~m).nonzero().flatten()]) / 0.1, 0)
                    entropies.append(-(p * p.log()).sum() / torch.log((~m).sum().double()))
                curve.append(torch.stack(entropies).mean())
            first.append(1 - curve[0])
            rises.append(sum((b - a + settings["margin"]).clamp(min=0) for a, b in itertools.pairwise(curve)))
            for block, x in zip(blocks[:early], sequence, strict=False):
                weights = attention(block, x[n : n + 1], bias)[0, :, 1:, 1:]
                spa.append(weights[:, ~m][:, :, m].sum(-1).mean())
    return {name: torch.stack(v).mean().item() for name, v in (("spa", spa), ("e", first), ("r", rises))}


@pytest.mark.parametrize("early", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("host", HOSTS)
def test_the_terms_by_hand(host, early):
    settings = NOTHING | dict(w_spa=1.0, w_e=2.0, w_r=3.0, early=early)
    model = make(host, settings).eval()
    if model.backbone.rel_pos_bias is not None:
        torch.nn.init.normal_(model.backbone.rel_pos_bias.relative_position_bias_table)
    found, expected = losses(model), expected_terms(model, settings)
    assert found["loss_spa"].item() == pytest.approx(expected["spa"], rel=1e-4)
    assert found["loss_e"].item() == pytest.approx(2 * expected["e"], rel=1e-4)
    assert found["loss_r"].item() == pytest.approx(3 * expected["r"], rel=1e-4)
    assert min(expected.values()) > 1e-4


def test_heterogeneity_that_falls_by_the_margin_costs_nothing():
    settings = MaskTokenOptimization(**NOTHING | dict(w_r=1.0, margin=0.1))
    watches = settings.watches()
    model = make("MAE")
    site = watches.site(model.masking(KEYS, (4, 4)), 0, 3)
    site.entropies = [torch.tensor([0.9, 0.9]), torch.tensor([0.8, 0.95]), torch.tensor([0.5, 0.85])]
    # 0 + 0, and 0.05 + 0.1 + 0.
    assert watches.losses()["loss_r"].item() == pytest.approx(0.15 / 2)


@pytest.mark.parametrize("host", ["MAE", "EMAE", "SimMIM"])
@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_recalibration_is_a_gate_on_attention_and_renormalised_rows(host, threshold):
    """attn_vm multiplied by 0 where m is unclear, rows of visible v divided by their sum."""
    model = make(host, NOTHING | dict(threshold=threshold)).eval()
    masks = model.masking(KEYS, model.mask_grid)
    (sequence,), (blocks,) = record(model, masks), sites_of(model)
    hidden = masks.mask.flatten(0, 1).bool()
    gated = 0
    for n, m in enumerate(hidden):
        for block, x, after in zip(blocks, sequence, sequence[1:], strict=False):
            z = torch.nn.functional.normalize(x[n, 1:], dim=-1)
            rows = torch.softmax(z @ z[~m].T / 0.1, -1)
            unclear = m & (-(rows * rows.log()).sum(-1) / torch.log((~m).sum().float()) > threshold)
            gated += int(unclear.sum())
            gate = torch.ones(17, 17)
            gate[1:, 1:][(~m)[:, None] & unclear[None]] = 0
            weights = attention(block, x[n : n + 1], None) * gate
            weights = weights / weights.sum(-1, keepdim=True)
            values = block.attn.qkv(block.norm1(x[n : n + 1])).chunk(3, -1)[2].unflatten(-1, (2, -1)).transpose(1, 2)
            y = x[n : n + 1] + block.ls1(block.attn.proj((weights @ values).transpose(1, 2).flatten(2)))
            y = y + block.ls2(block.mlp(block.norm2(y)))
            torch.testing.assert_close(after[n : n + 1], y, rtol=0, atol=1e-5)
    every = int(hidden.sum()) * len(blocks)
    assert gated == every if threshold == 0 else 0 < gated < every


def test_a_threshold_that_nothing_exceeds_is_the_host():
    ours, plain = losses(make("MAE", NOTHING | dict(threshold=1.0))), losses(make("MAE"))
    torch.testing.assert_close(ours["loss_reconstruction"], plain["loss_reconstruction"], rtol=0, atol=1e-6)
    barred = losses(make("MAE", NOTHING | dict(threshold=0.0)))
    assert abs(barred["loss_reconstruction"] - plain["loss_reconstruction"]) > 1e-4


def test_pictures_are_of_the_recalibrated_model():
    preprocessor = dict(type="mmengine.ImgDataPreprocessor", mean=[127.0] * 3, std=[64.0] * 3)
    raw = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model = make("MAE", NOTHING | dict(threshold=0.0), data_preprocessor=preprocessor).eval()
    plain = make("MAE", data_preprocessor=preprocessor).eval()
    assert not torch.equal(*(m.reconstruct(raw, KEYS)["reconstruction"] for m in (model, plain)))


@pytest.mark.parametrize(("name", "at"), [("w_spa", "loss_spa"), ("w_e", "loss_e"), ("w_r", "loss_r")])
@pytest.mark.parametrize("host", HOSTS)
def test_each_term_can_be_lowered_alone(host, name, at):
    model = make(host, NOTHING | {name: 1.0}).eval()
    before = losses(model)
    assert before.keys() - {"loss_reconstruction", "loss_consistency"} == {at}
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(before[at], trained, allow_unused=True)
    norm = sum(g.square().sum() for g in gradients if g is not None).sqrt()
    with torch.no_grad():
        for parameter, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                parameter -= 1e-3 * gradient / norm
    # To first order it falls by 1e-3 of the gradient's norm.
    assert 0.5 < (before[at] - losses(model)[at]).item() / (1e-3 * norm.item()) < 2 and before[at] > 0


def test_recalibration_in_half_precision():
    for host in HOSTS:
        model = make(host, NOTHING | dict(w_spa=0.1, w_e=0.1, w_r=0.1, threshold=0.9)).eval()
        full = losses(model)
        with torch.autocast("cpu", torch.bfloat16):
            half = losses(model)
        for name, value in full.items():
            torch.testing.assert_close(half[name].float(), value, rtol=0.1, atol=0.02)


SWIN = dict(
    type="mimeval.SwinTransformer",
    arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)),
    img_size=32,
    window_size=2,
    out_type="mean",
)
WINDOWS = dict(VIT, out_type="maps", window_size=2, rel_pos="decomposed")


@pytest.mark.parametrize(
    ("host", "changes", "match"),
    [
        ("SimMIM", dict(backbone=SWIN), "which SubstitutedTokens has in a plain ViT only, not within windows"),
        ("SimMIM", dict(backbone=WINDOWS), "leave mask_token out, or set the backbone to a VisionTransformer"),
        (
            "MAE",
            dict(decoders=[dict(MAE_DECODER, depth=0)]),
            r"decoders.0 \(MAEDecoder\) has none and the encoder sees",
        ),
        ("MAE", dict(masking=dict(RANDOM, ratio=0.93)), "at least 2 visible patches, found 1"),
    ],
)
def test_a_host_without_mask_tokens_to_read_is_refused_when_built(host, changes, match):
    with pytest.raises(UserError, match=match):
        make(host, NOTHING, **changes)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(w_spa=-1),
        dict(w_e=float("nan")),
        dict(w_r=-0.1),
        dict(margin=-1),
        dict(temperature=0),
        dict(early=0),
        dict(early=1.5),
        dict(threshold=1.1),
    ],
)
def test_constants_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=f"mask_token.{next(iter(wrong))} must"):
        MaskTokenOptimization(**NOTHING | wrong)


def test_no_constant_has_a_default():
    for name in NOTHING:
        with pytest.raises(TypeError, match=name):
            MaskTokenOptimization(**{key: value for key, value in NOTHING.items() if key != name})


def test_it_says_what_it_is_where_it_acts():
    assert make("MAE").caveats == make("MAE", NOTHING).caveats == []
    assert make("MAE", NOTHING | dict(w_e=0.1)).caveats == [CAVEAT] and "reconstruction" in CAVEAT


def test_a_run_says_so_once(tmp_path, capfd):
    data = generate(tmp_path / "demo", DemoSpec(train=40, val=30, seed=1))
    mto = ",".join(f"'{name}':{value}" for name, value in (NOTHING | dict(w_e=0.1)).items())
    options = [
        f"+model.mask_token={{'type':'MaskTokenOptimization',{mto}}}",
        "train_cfg.max_epochs=2",
        "train_dataloader.batch_size=20",
        "+train_dataloader.dataset.dataset.indices=40",
    ]
    command = ["train", "demo/emae_demo", "--data", str(data), "--work-dir", str(tmp_path / "run"), "--cfg-options"]
    assert main([*command, *options]) == 0
    assert "".join(capfd.readouterr()).count(CAVEAT) == 1
    (log,) = (tmp_path / "run").rglob("*.log")
    assert log.read_text().count(CAVEAT) == 1


def test_it_adds_nothing_to_a_checkpoint():
    assert make("MAE", NOTHING | dict(w_e=0.1)).state_dict().keys() == make("MAE").state_dict().keys()


def test_only_what_reads_attention_in_the_encoder_takes_its_blocks_apart():
    assert make("SimMIM", NOTHING | dict(w_spa=0.1)).mask_token.takes_blocks_apart
    assert not make("SimMIM", NOTHING | dict(w_e=0.1, threshold=0.9)).mask_token.takes_blocks_apart
    assert not make("MAE", NOTHING | dict(w_spa=0.1)).mask_token.takes_blocks_apart
    with pytest.raises(UserError, match="fsdp: expected a mask_token that runs whole blocks"):
        shard(make("SimMIM", NOTHING | dict(w_spa=0.1)), {})
