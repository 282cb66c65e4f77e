"""Draws the produced and the released learning rates of some recipes: python -m tests.parity.plot_lr_curves docs/images/lr_curves.png"""

import sys

import matplotlib
import numpy as np

from tests.parity.lr_curves import curves

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

SHOWN = {
    "finetune_vitb": "MAE ViT-B, fine-tuning",
    "finetune_localmim_vitb": "LocalMIM ViT-B, fine-tuning",
    "finetune_beit_vitb": "BEiT-B, fine-tuning",
    "finetune_simmim_vitb": "SimMIM ViT-B, fine-tuning",
    "finetune_simmim_swinb": "SimMIM Swin-B, fine-tuning",
    "linear_vitb": "MAE ViT-B, linear probe",
}


def draw(path: str) -> None:
    """One plot per recipe: rates of three layers, ours as a broad line, the release's as a thin black one on top."""
    figure, plots = plt.subplots(2, 3, figsize=(10, 5), sharex=True, layout="constrained")
    places = dict(zip(SHOWN, plots.flat, strict=True))
    worst = dict.fromkeys(SHOWN, 0.0)
    for label, epochs, ours, official in curves(tuple(SHOWN)):
        name, layer = label.split(", ")
        worst[name] = max(worst[name], float(np.max(np.abs(ours - official) / np.maximum(official, 1e-30))))
        places[name].plot(epochs, ours, linewidth=4, alpha=0.45, label=layer)
        places[name].plot(epochs, official, color="black", linewidth=0.8)
    for name, plot in places.items():
        plot.set_title(f"{SHOWN[name]}\nlargest relative difference {worst[name]:.0e}", fontsize=9)
        plot.set_yscale("log")
        plot.set_ylim(bottom=1e-8)
        plot.legend(fontsize=7, frameon=False)
        plot.tick_params(labelsize=7)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("learning rate", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1])
