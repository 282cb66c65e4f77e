"""Draws produced and official learning rates of four dense recipes: python -m tests.parity.plot_dense_schedules docs/images/dense_schedules.png"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from tests.parity.dense import optimizer, recipe, schedulers  # noqa: E402
from tests.parity.test_dense_schedules import OFFICIAL, SHORTER, rate_of  # noqa: E402

RECIPES = {
    "maskrcnn_vitdet_vitb": "ViTDet, ViT-B",
    "maskrcnn_li2021_vitb": "Li et al. 2021, 100 epochs",
    "maskrcnn_swinb": "Mask R-CNN, Swin-B, 3x",
    "upernet_vitb": "UperNet, MAE ViT-B",
}
COLOURS = ("#1b6ca8", "#d1762b", "#4a9a5b")


def produced(name: str) -> dict[float, list[float]]:
    """Rate at every iteration of the shortened schedule, by lr scale: last layer, middle, first."""
    wrapper = optimizer(name)
    built, groups = schedulers(name, wrapper, SHORTER), wrapper.optimizer.param_groups
    scales = sorted({group["lr_scale"] for group in groups}, reverse=True)
    chosen = {
        scale: next(group for group in groups if group["lr_scale"] == scale) for scale in (*scales[:1], *scales[7::6])
    }
    rates: dict[float, list[float]] = {scale: [] for scale in chosen}
    for _ in range(int(recipe(name).train_cfg.max_iters / SHORTER)):
        for scale, group in chosen.items():
            rates[scale].append(group["lr"])
        for one in built:
            one.step()
    return rates


def main(path: str) -> None:
    figure, axes = plt.subplots(1, len(RECIPES), figsize=(12, 2.6), constrained_layout=True)
    for ax, (name, title) in zip(axes, RECIPES.items(), strict=True):
        official, lr, full = OFFICIAL[name](SHORTER), rate_of(name), recipe(name).train_cfg.max_iters
        for (scale, rates), colour in zip(produced(name).items(), COLOURS, strict=False):
            thousands = [i * full / len(rates) / 1000 for i in range(len(rates))]
            marks = [*range(12), *range(12, len(rates), len(rates) // 22), len(rates) - 1]
            ax.plot(thousands, rates, color=colour, lw=1.2, label=f"layer scale {scale:.2g}")
            ax.plot(
                [thousands[i] for i in marks],
                [lr * scale * official(i) for i in marks],
                "o",
                ms=3,
                mfc="none",
                color=colour,
            )
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("thousand iterations", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        ax.yaxis.offsetText.set_fontsize(7)
        ax.legend(fontsize=6, frameon=False, loc="best")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("learning rate", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
