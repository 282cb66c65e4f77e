"""Whose file a plain ViT with bare names is: MAE, DINO, iBOT, MoCo v3, I-JEPA, DeiT and timm all write the same names and shapes.

They differ in the key that the tensors lie under, in what stands beside them, and in their positions: learned, or a fixed sin-cos
table. Those are looked at because each family resizes them in its own way.
"""

from __future__ import annotations

from mimeval.backbones.positions import sincos_position_embedding

from .architecture import State, table_grid

# Half precision is known, too.
SINCOS_TOLERANCE = 2e-3


def owner(state: State, container: str) -> str:
    """Name of the family that a plain ViT's state dict is of, by what it holds and the key that it lies under."""
    if "mask_token" in state or "pos_embed" not in state or any(name.startswith("decoder_") for name in state):
        return "mae"
    if "dist_token" in state:
        return "deit"
    has_head = any(name.startswith("head.") for name in state)
    positions = fixed_positions(state)
    if "cls_token" not in state:
        return "ijepa" if positions == "sincos" and not has_head else "mae" if container == "model" else "timm"
    if positions == "sincos_rows":
        return "mocov3"
    if class_position_is_zero(state):
        return "mae"
    if "head.weight" in state:
        # MAE's tuned with --cls_token is DeiT's in every name, and nothing differs.
        return "timm" if container != "model" else "mae" if "fc_norm.weight" in state else "deit"
    if "fc_norm.weight" in state:
        return "mae"
    return {"state_dict": "ibot", "": "dino", "teacher": "dino", "student": "dino"}.get(container, "mae")


def fixed_positions(state: State) -> str | None:
    """'sincos' (columns first: MAE, I-JEPA) or 'sincos_rows' (MoCo v3, CAE) where pos_embed is that table; None if learned."""
    table = state.get("pos_embed")
    grid = table_grid(table, None)
    if table is None or grid is None or table.shape[-1] % 4:
        return None
    rows = table.shape[1] - grid[0] * grid[1]
    patches = table[:, rows:].float()
    for way in ("sincos", "sincos_rows"):
        fresh = sincos_position_embedding(table.shape[-1], grid, cls_token=False, rows_first=way == "sincos_rows")
        if bool(((patches - fresh).abs() <= SINCOS_TOLERANCE).all()):
            return way
    return None


def class_position_is_zero(state: State) -> bool:
    """Whether the class token has a position that was never trained, as in MAE, whose table may have been resampled."""
    return not bool(state["pos_embed"][:, 0].count_nonzero())
