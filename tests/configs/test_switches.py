"""EMA, clipping, accumulation and compiling of fine-tuning are settings of a config: each on a tiny copy of the recipe."""

import math

import pytest
import torch
from mmengine.hooks import Hook

from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import apply_options, load_config
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from tests.configs.test_one_step import shrink


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


class Weights(Hook):
    """The trained weights before the first step and after every one, and each step's loss."""

    priority = "VERY_LOW"

    def before_train(self, runner) -> None:
        self.steps, self.losses = [self._copy(runner)], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.steps.append(self._copy(runner))
        self.losses.append(outputs["loss"].item())

    @staticmethod
    def _copy(runner):
        return torch.cat([p.detach().flatten() for p in runner.model.parameters() if p.requires_grad])


def tiny(data, options=(), augment=True):
    """MAE's fine-tuning of a ViT with one block; SGD at rate 1, where a step is the gradient itself."""
    config = shrink(load_config("transfer/finetune_vitb", data=str(data), known_keys=RUN_KEYS | {"protocol"}))
    config.model.backbone.update(arch=dict(embed_dim=24, depth=1, num_heads=2), drop_path_rate=0.0)
    config.model.head.in_channels = 24
    config.optim_wrapper.optimizer = dict(type="SGD", lr=1.0)
    config.optim_wrapper.paramwise_cfg = dict(layer_decay=1.0)
    config.base_lr = None
    config.pop("protocol")
    if not augment:
        config.model.data_preprocessor.mixup = None
        del config.train_dataloader.dataset.dataset.pipeline[1:5]
    apply_options(config, options)
    return config


def train(config, work_dir, **choices):
    prepare(config, work_dir=str(work_dir), **choices)
    runner, weights = build_runner(config), Weights()
    runner.register_hook(weights)
    runner.train()
    return runner, weights


def test_ema_averages_saves_and_resumes(data, tmp_path):
    ema = "+custom_hooks=[{'type': 'EMAHook', 'momentum': 0.25}]"
    runner, weights = train(tiny(data, [ema]), tmp_path)
    _, first, second = weights.steps
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    names = [name for name, p in runner.model.named_parameters() if p.requires_grad]
    ema_state = hook.ema_model.module.state_dict()
    averaged = torch.cat([ema_state[name].flatten() for name in names])
    # mmengine's average starts as a copy after the first step.
    torch.testing.assert_close(averaged, 0.75 * first + 0.25 * second)
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    torch.testing.assert_close(torch.cat([saved["state_dict"][name].flatten() for name in names]), averaged)
    torch.testing.assert_close(
        torch.cat([saved["ema_state_dict"][f"module.{name}"].flatten() for name in names]), second
    )

    longer = tiny(data, [ema, "train_cfg.max_epochs=2"])
    _, resumed = train(longer, tmp_path, resume="auto")
    whole = tiny(data, [ema, "train_cfg.max_epochs=2"])
    _, uninterrupted = train(whole, tmp_path / "whole")
    assert torch.equal(resumed.steps[-1], uninterrupted.steps[-1])


def test_clipping(data, tmp_path):
    _, free = train(tiny(data), tmp_path / "free")
    _, clipped = train(tiny(data, ["+optim_wrapper.clip_grad={'max_norm': 0.001}"]), tmp_path / "clipped")
    step, short = free.steps[1] - free.steps[0], clipped.steps[1] - clipped.steps[0]
    assert step.norm() > 0.01
    assert short.norm().item() == pytest.approx(1e-3, rel=1e-2)
    torch.testing.assert_close(short / short.norm(), step / step.norm(), rtol=0, atol=1e-4)


def test_accumulation(data, tmp_path):
    halves = tiny(data, ["optim_wrapper.accumulative_counts=2"], augment=False)
    runner, accumulated = train(halves, tmp_path / "halves")
    assert "accumulated" in runner.rate and "batch 4 = 2 x 1 processes x 2 accumulated" in runner.rate
    _, whole = train(tiny(data, ["train_dataloader.batch_size=4"], augment=False), tmp_path / "whole")
    assert len(accumulated.steps) == 3 and len(whole.steps) == 2
    assert torch.equal(accumulated.steps[0], accumulated.steps[1])
    torch.testing.assert_close(accumulated.steps[2], whole.steps[1], rtol=1e-5, atol=1e-6)
    assert math.fsum(accumulated.losses) / 2 == pytest.approx(whole.losses[0], rel=1e-5)


@pytest.mark.parametrize("choice", ["{'backend': 'aot_eager'}"])
def test_compiled_training_computes_the_same(data, tmp_path, choice):
    """Mixup's and CutMix's draws included: numpy's generator must not be replaced by the compiler's."""
    _, plain = train(tiny(data), tmp_path / "plain")
    _, compiled = train(tiny(data, [f"+compile={choice}"]), tmp_path / "compiled")
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-5)
    torch.testing.assert_close(compiled.steps[-1], plain.steps[-1], rtol=1e-4, atol=1e-5)
