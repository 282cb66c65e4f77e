import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from mimeval.engine.precision import AutocastOptimWrapper, autocast
from mimeval.errors import UserError
from mimeval.registry import OPTIM_WRAPPERS

HAS_GPU = torch.cuda.is_available()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def batch(count=6):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1))


def gradients(model, inputs):
    model.zero_grad()
    model(inputs).pow(2).mean().backward()
    return torch.cat([p.grad.flatten().clone() for p in model.parameters()])


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def one_update(wrapper, model, inputs):
    with wrapper.optim_context(model):
        loss = model(inputs).pow(2).mean()
    wrapper.update_params(loss)


@pytest.mark.parametrize("precision, dtype", [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_matrix_products_run_in_the_precision_asked_for(model, precision, dtype):
    wrapper = OPTIM_WRAPPERS.build(dict(type="AutocastOptimWrapper", optimizer=sgd(model), precision=precision))
    # fp32 holds inside another autocast too.
    with torch.autocast("cpu", dtype=torch.bfloat16), wrapper.optim_context(model):
        assert model(batch()).dtype == dtype
    with autocast(model, precision), torch.no_grad():
        assert model(batch()).dtype == dtype
    one_update(wrapper, model, batch())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_precisions_that_do_not_exist_here(model):
    with pytest.raises(UserError, match="one of fp32, bf16, fp16, found 'tf32'"):
        AutocastOptimWrapper(sgd(model), precision="tf32")
    with pytest.raises(UserError, match="needs a GPU"):
        AutocastOptimWrapper(sgd(model), precision="fp16")
    with pytest.raises(UserError, match="needs a GPU"):
        autocast(model, "fp16")


def test_gradient_norm_is_recorded_without_clipping(model):
    expected, start = gradients(model, batch()), weights(model)
    model.zero_grad()
    wrapper = AutocastOptimWrapper(sgd(model))
    one_update(wrapper, model, batch())
    assert wrapper.grad_norm == pytest.approx(expected.norm().item(), rel=1e-5)
    torch.testing.assert_close(weights(model), start - 0.1 * expected)
    assert MessageHub.get_current_instance().get_scalar("train/grad_norm").current() == wrapper.grad_norm


@pytest.mark.parametrize(
    "clip_grad, clip, order",
    [
        (dict(max_norm=0.05), lambda g: g * 0.05 / g.norm(), 2),
        (dict(max_norm=0.02, norm_type="inf"), lambda g: g * 0.02 / g.abs().max(), torch.inf),
        (dict(type="value", clip_value=0.03), lambda g: g.clamp(-0.03, 0.03), 2),
    ],
    ids=["norm", "largest", "value"],
)
def test_clipping_comes_after_the_norm_is_recorded(model, clip_grad, clip, order):
    expected, start = gradients(model, batch()), weights(model)
    model.zero_grad()
    config = dict(clip_grad)
    wrapper = AutocastOptimWrapper(sgd(model), clip_grad=config)
    one_update(wrapper, model, batch())
    assert wrapper.grad_norm == pytest.approx(torch.linalg.vector_norm(expected, order).item(), rel=1e-5)
    assert (clip(expected) != expected).any()
    torch.testing.assert_close(weights(model), start - 0.1 * clip(expected), rtol=1e-4, atol=1e-6)
    assert config == clip_grad, "the config of the caller stays as it was"


def test_accumulated_halves_equal_the_whole_batch(model):
    expected, start = gradients(model, batch()), weights(model)
    model.zero_grad()
    wrapper = AutocastOptimWrapper(sgd(model), accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    one_update(wrapper, model, batch()[:3])
    assert torch.equal(weights(model), start) and wrapper.grad_norm != wrapper.grad_norm
    one_update(wrapper, model, batch()[3:])
    torch.testing.assert_close(weights(model), start - 0.1 * expected)
    assert wrapper.grad_norm == pytest.approx(expected.norm().item(), rel=1e-5)


def with_scaler(model, device="cpu", **options):
    """A wrapper with loss scaling where the test runs; the CPU has a scaler for tests, though no user gets it."""
    wrapper = AutocastOptimWrapper(sgd(model), precision="fp16" if device == "cuda" else "bf16", **options)
    wrapper.scaler = torch.amp.GradScaler(device, init_scale=1024.0)
    return wrapper


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")])],
)
class TestLossScaling:
    def test_scale_cancels_before_norm_and_clipping(self, model, device):
        model, inputs = model.to(device), batch().to(device)
        expected, start = gradients(model, inputs), weights(model)
        model.zero_grad()
        wrapper = with_scaler(model, device, clip_grad=dict(max_norm=0.05))
        one_update(wrapper, model, inputs)
        assert wrapper.grad_norm == pytest.approx(expected.norm().item(), rel=0.02)
        step = start - weights(model)
        assert step.norm().item() == pytest.approx(0.1 * 0.05, rel=1e-3)
        assert torch.cosine_similarity(step, expected, dim=0) > 0.999

    def test_an_infinite_gradient_skips_the_update(self, model, device):
        model, inputs = model.to(device), batch().to(device)
        wrapper = with_scaler(model, device)
        one_update(wrapper, model, inputs)
        start, logged = weights(model), MessageHub.get_current_instance().get_scalar("train/grad_norm").current()
        wrapper.update_params(model(inputs).pow(2).mean() * torch.inf)
        assert torch.equal(weights(model), start)
        assert wrapper.scaler.get_scale() == 512.0
        assert MessageHub.get_current_instance().get_scalar("train/grad_norm").current() == logged
        one_update(wrapper, model, inputs)
        assert not torch.equal(weights(model), start)

    def test_the_scale_is_resumed(self, model, device):
        model, inputs = model.to(device), batch().to(device)
        wrapper = with_scaler(model, device)
        wrapper.update_params(model(inputs).pow(2).mean() * torch.inf)
        state = wrapper.state_dict()
        resumed = with_scaler(model, device)
        resumed.load_state_dict(state)
        assert resumed.scaler.get_scale() == 512.0
        AutocastOptimWrapper(sgd(model)).load_state_dict(state)  # another precision goes on without the scale
        assert "loss_scaler" in state, "loading leaves the checkpoint as it was"


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_fp16_trains_on_a_gpu(model):
    model, inputs = model.cuda(), batch(64).cuda()
    wrapper = AutocastOptimWrapper(sgd(model), precision="fp16")
    with wrapper.optim_context(model):
        assert model(inputs).dtype == torch.float16
    before = model(inputs).pow(2).mean().item()
    for _ in range(30):
        one_update(wrapper, model, inputs)
    assert model(inputs).pow(2).mean().item() < 0.5 * before
