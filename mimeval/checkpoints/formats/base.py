"""What a family of checkpoints is: how to know its files, how its names are called here, what they may lack and leave.

A family is data; one file each. Own names are those of this project's models: `backbone.*`, `decoders.<level>.*`,
`head.*`.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
Grid = tuple[int, int]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Heads are not in the weights. By convention each is 64 wide; ViT-H's are 80 (ViT 2010.11929, table 1).
HEADS_BY_WIDTH = {1280: 16}
ARCH_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}


@dataclass(frozen=True)
class Absence:
    """Encoder names, by pattern, that a file may lack, all of them together, and why; `given` must be in it then."""

    pattern: str
    reason: str
    given: str | None = None


# What the backbone's config adds for a task and no pre-training has.
DOWNSTREAM = (
    Absence("blocks.*.attn.rel_pos_[hw]", "decomposed relative positions start at zero"),
    Absence("blocks.*.attn.relative_position_bias_table", "relative position biases start at zero"),
    Absence("rel_pos_bias.*", "the shared relative position bias starts at zero"),
    Absence("blocks.*.ls[12].gamma", "layer scale starts at init_values"),
    Absence("tap_norms.*", "the norms of the taps are new"),
)
FRESH_FC_NORM = Absence("fc_norm.*", "fine-tuning on the mean of the patches starts a new fc_norm", given="norm.weight")


@dataclass(frozen=True)
class Architecture:
    """A ViT as its tensors' shapes tell; None where they do not. Sizes in pixels, grids in patches, (rows, columns)."""

    embed_dim: int | None
    depth: int
    num_heads: int | None
    mlp_ratio: float | None
    patch_size: int | None
    grid: Grid | None
    cls_token: bool
    positions: bool
    final_norm: str | None
    decoder_dim: int | None = None
    decoder_depth: int = 0
    heads_are_stored: bool = False

    @property
    def image_size(self) -> Grid | None:
        if self.grid is None or self.patch_size is None:
            return None
        return self.grid[0] * self.patch_size, self.grid[1] * self.patch_size

    def __str__(self) -> str:
        if not self.depth:
            return f"width {self.embed_dim} patch {self.patch_size} (no plain ViT)"
        return f"ViT width {self.embed_dim} depth {self.depth} patch {self.patch_size}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Family:
    """The contract. Patterns are shell patterns over whole names; `*` in `renames` is the same text on both sides."""

    name: str
    containers: tuple[str, ...]
    """Keys of the file to look under, the best first; '' is the file itself."""
    signature: tuple[str, ...]
    """Patterns that every file of the family matches."""
    foreign: tuple[str, ...] = ()
    """Patterns that none matches."""
    renames: tuple[tuple[str, str], ...]
    """(name in the file, own name), read in both directions; the first that fits counts."""
    may_lack: tuple[Absence, ...] = (FRESH_FC_NORM, *DOWNSTREAM)
    """Encoder tensors, by own name without `backbone.`, that may keep their initial values."""
    may_leave: tuple[tuple[str, str], ...] = ()
    """(pattern, reason) of the file's tensors that a backbone need not take."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def recognises(self, state: State) -> bool:
        return all(any(matches(name, (pattern,)) for name in state) for pattern in self.signature) and not any(
            matches(name, self.foreign) for name in state
        )

    def read(self, state: State) -> State:
        """The file's tensors under names that `renames` knows; here a family merges or splits tensors."""
        return state

    def write(self, state: State) -> State:
        """The inverse of `read`."""
        return state

    def own_name(self, name: str) -> str | None:
        """Our name of a tensor in the file, None for one that has none."""
        return rename(name, self.renames)

    def their_name(self, name: str) -> str | None:
        """The family's name of a tensor of ours, None for one that its files cannot hold."""
        theirs = rename(name, tuple((own, theirs) for theirs, own in self.renames))
        return None if theirs is None or matches(theirs, self.foreign) else theirs

    def reason_to_leave(self, name: str) -> str | None:
        """Why a backbone need not take this tensor of the file, None if it must."""
        return next((reason for pattern, reason in self.may_leave if fnmatchcase(name, pattern)), None)

    def encoder(self, state: State) -> State:
        """The encoder's tensors by own name without `backbone.`, from a state after `read`."""
        owned = {self.own_name(name): tensor for name, tensor in state.items()}
        return {
            name.removeprefix("backbone."): tensor
            for name, tensor in owned.items()
            if name and name.startswith("backbone.")
        }

    def architecture(self, state: State, meta: dict[str, Any]) -> Architecture:
        """The architecture of a state after `read`; `meta` is what else the file holds."""
        own = {self.own_name(name) or "": tensor for name, tensor in state.items()}
        blocks = {int(found[1]) for name in own if (found := re.match(r"decoders\.0\.blocks\.(\d+)\.", name))}
        embed = own.get("decoders.0.embed.weight")
        architecture = vit_architecture(self.encoder(state), stored_heads(meta), stored_grid(meta))
        return replace(architecture, decoder_dim=None if embed is None else len(embed), decoder_depth=len(blocks))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def rename(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    for source, target in table:
        found = re.fullmatch(re.escape(source).replace(r"\*", "(.+?)"), name)
        if found:
            return target.replace("*", "{}").format(*found.groups())
    return None


def vit_architecture(encoder: State, heads: int | None = None, grid: Grid | None = None) -> Architecture:
    """The architecture of an encoder's state dict (own names, no prefix); heads and grid if the file stores them."""
    patch, fc1, table = (encoder.get(n) for n in ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "pos_embed"))
    norm1 = encoder.get("blocks.0.norm1.weight")
    width = next((t.shape[dim] for t, dim in ((patch, 0), (norm1, 0), (table, -1)) if t is not None), None)
    return Architecture(
        embed_dim=width,
        depth=len({int(found[1]) for name in encoder if (found := re.match(r"blocks\.(\d+)\.", name))}),
        num_heads=heads or conventional_heads(width),
        mlp_ratio=None if fc1 is None else fc1.shape[0] / fc1.shape[1],
        patch_size=None if patch is None else patch.shape[-1],
        grid=table_grid(table, grid),
        cls_token="cls_token" in encoder,
        positions=table is not None,
        final_norm=next((norm for norm in ("norm", "fc_norm") if f"{norm}.weight" in encoder), None),
        heads_are_stored=heads is not None,
    )


def conventional_heads(width: int | None) -> int | None:
    if width is None or width % 64:
        return HEADS_BY_WIDTH.get(width or 0)
    return HEADS_BY_WIDTH.get(width, width // 64)


def table_grid(table: Tensor | None, grid: Grid | None) -> Grid | None:
    """The grid of a table [1, 1 + h * w, D] (or without the class row): as stored if that fits, else the square one."""
    if table is None:
        return None
    for count in (table.shape[1] - 1, table.shape[1]):
        if grid is not None and grid[0] * grid[1] == count:
            return grid
        if count and math.isqrt(count) ** 2 == count:
            return math.isqrt(count), math.isqrt(count)
    return None


def stored_heads(meta: dict[str, Any]) -> int | None:
    """The number of heads that a file says: in our header, a runner's config, or the model name in MAE's arguments."""
    header = _header(meta)
    if str(header.get("num_heads", "")).isdigit():
        return int(header["num_heads"])
    arch = backbone_config(meta).get("arch")
    if isinstance(arch, dict):
        return arch.get("num_heads")
    name = arch or str(getattr(meta.get("args"), "model", ""))
    return next((heads for size, heads in ARCH_HEADS.items() if size in name.split("_")), None)


def stored_grid(meta: dict[str, Any]) -> Grid | None:
    """The grid of patches that a file says, in its header or in the config of a runner."""
    found = re.fullmatch(r"(\d+)x(\d+)", str(_header(meta).get("grid", "")))
    if found:
        return int(found[1]), int(found[2])
    config = backbone_config(meta)
    size, patch = config.get("img_size", 224), config.get("patch_size", 16)
    if not config or not isinstance(patch, int):
        return None
    h, w = (size, size) if isinstance(size, int) else size
    return h // patch, w // patch


def _header(meta: dict[str, Any]) -> dict[str, Any]:
    # Both the runner's checkpoints and ours keep what is to be said about the file under `meta`.
    header = meta.get("meta")
    return header if isinstance(header, dict) else {}


def backbone_config(meta: dict[str, Any]) -> dict[str, Any]:
    """`model.backbone` of the config that mmengine's runner writes as text; read, never run. Empty if there is none."""
    text = _header(meta).get("cfg")
    try:
        tree = ast.parse(text) if isinstance(text, str) else ast.Module([], [])
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "model":
                backbone = _literal(node.value).get("backbone", {})
                return backbone if isinstance(backbone, dict) else {}
    except (SyntaxError, ValueError, AttributeError):
        pass
    return {}


def _literal(node: ast.expr) -> Any:
    # ast.literal_eval, and `dict(a=1)`, which is how mmengine prints a config.
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict" and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    return ast.literal_eval(node)
