"""Checkpoints of this project: a whole model's state dict as mmengine's runner writes it, or as safetensors."""

from __future__ import annotations

from .base import Family


class Own(Family):
    """`state_dict` in a `.pth`, or a `.safetensors`; the encoder under `backbone.`, other parts beside it."""

    name = "mimeval"
    containers = ("state_dict", "")
    signature = ("backbone.*",)
    foreign = (
        "backbone.layers.*.ln1.*",  # mmpretrain's and mmseg's own ViT
        "backbone.net.*",  # detectron2's ViTDet
    )
    renames = (("*", "*"),)
    may_leave = (
        ("backbone.norm.*", "this backbone ends without norm"),
        ("backbone.fc_norm.*", "this backbone ends without fc_norm"),
        ("backbone.cls_token", "this backbone has no class token"),
    )

    def reason_to_leave(self, name: str) -> str | None:
        if not name.startswith("backbone."):
            return "another part of the model"
        return super().reason_to_leave(name)
