"""Loading a checkpoint into a backbone: each tensor fits, or is declared, or is waived by name, or is an error."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, overload

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from mimeval.backbones.positions import ROTARY
from mimeval.errors import UserError
from mimeval.registry import WEIGHT_INITIALIZERS

from .build import build_backbone
from .compare import missing_tensors, nearest_name, unexpected_tensors
from .fit import fit, resampling
from .formats import Recognised, blamed, recognise
from .formats.architecture import Architecture, State, Swin, ViT, read_architecture
from .state import Checkpoint, read_state

WAIVABLE = ("missing", "unexpected", "shape")
SHOWN = 5


@dataclass
class LoadReport:
    """What was loaded into a backbone, and everything that was not."""

    path: str
    family: str
    container: str
    architecture: Architecture
    loaded: list[str]
    """Names of the backbone's tensors that came from the file."""
    parameters: int
    """Their values, counted; `total_parameters` is the backbone's."""
    total_tensors: int
    total_parameters: int
    fresh: dict[str, str] = field(default_factory=dict)
    """Tensors of the backbone that keep their initial values, with the reason."""
    left_over: dict[str, str] = field(default_factory=dict)
    """Tensors of the file that were not used, with the reason."""
    transformations: list[str] = field(default_factory=list)
    waived: dict[str, list[str]] = field(default_factory=dict)
    """Waiver -> the names it let pass."""
    training: dict[str, Any] | None = None
    """How the file was pre-trained, where it says so: config, command, git, hardware, images_seen, wall_s."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [
            f"{self.path}: family {self.family}, {self.architecture}, "
            f"{len(self.loaded)} of {self.total_tensors} tensors ({self.parameters / 1e6:.2f} M parameters) loaded"
        ]
        parts += [
            f"{label} {_grouped(names)}" for label, names in (("fresh", self.fresh), ("left", self.left_over)) if names
        ]
        parts += self.transformations
        parts += [f"WAIVED {waiver} ({len(names)} tensors)" for waiver, names in self.waived.items()]
        return "; ".join(parts)


class Waivers:
    """`KIND:PATTERN`, KIND one of missing, unexpected, shape; PATTERN a shell pattern over names: `missing:norm.*`.

    missing: tensors of the backbone that the file may lack. unexpected: tensors of the file that may be ignored.
    shape: tensors of the backbone that keep their initial values where the file's have another shape.
    """

    def __init__(self, waivers: Sequence[str] = ()):
        self.waivers = tuple(waivers)
        self.used: dict[str, list[str]] = {}
        for waiver in self.waivers:
            kind, _, pattern = waiver.partition(":")
            if kind not in WAIVABLE or not pattern:
                raise UserError(
                    f"The waiver {waiver!r} is not understood: write KIND:PATTERN with KIND one of "
                    f"{', '.join(WAIVABLE)}, for example 'missing:norm.*'."
                )

    def remaining(self, kind: str, names: Sequence[str]) -> list[str]:
        """The names that no waiver of this kind lets pass."""
        left = []
        for name in names:
            for waiver in self.waivers:
                if waiver.startswith(f"{kind}:") and fnmatchcase(name, waiver.partition(":")[2]):
                    self.used.setdefault(waiver, []).append(name)
                    break
            else:
                left.append(name)
        return left


@overload
def load_backbone(
    backbone: nn.Module,
    path: str | os.PathLike,
    waive: Sequence[str] = (),
    trust_pickle: bool = False,
    switches: Sequence[str] = (),
) -> LoadReport: ...


@overload
def load_backbone(
    backbone: str | os.PathLike,
    path: None = None,
    waive: Sequence[str] = (),
    trust_pickle: bool = False,
    switches: Sequence[str] = (),
    **settings: Any,
) -> nn.Module: ...


def load_backbone(backbone, path=None, waive=(), trust_pickle=False, switches=(), **settings):
    """Load a checkpoint of any known family into a backbone, strictly; the report is kept at `backbone.load_report`.

    `load_backbone(path)` builds the backbone from the file alone, in eval mode, and returns it; settings are arguments of its class
    that differ (img_size=, out_type=, ...), and num_heads= where the file does not say. `load_backbone(backbone, path)` returns
    the report.

    waive: see `Waivers`. switches: NAME=VALUE, choices that a family offers: container=KEY, positions=WAY and tables=WAY (how
    they are resampled, positions.py), and its own. Raises UserError, and leaves the backbone as it was, if the file cannot be
    read, belongs to no known family or to another architecture, lacks a tensor, has one too many, or holds values that are not
    finite.
    """
    if not isinstance(backbone, nn.Module):
        checkpoint = read_state(backbone, trust_pickle)
        found = recognise(checkpoint, switches)
        with blamed(backbone, found.family):
            built = build_backbone(backbone, found.architecture, **settings)
        load_recognised(built, checkpoint, found, waive)
        return built.eval()
    if settings:
        raise TypeError(f"{', '.join(settings)}: only load_backbone(path) builds a backbone")
    checkpoint = read_state(path, trust_pickle)
    return load_recognised(backbone, checkpoint, recognise(checkpoint, switches), waive)


def load_recognised(
    backbone: nn.Module, checkpoint: Checkpoint, found: Recognised, waive: Sequence[str] = ()
) -> LoadReport:
    """As load_backbone, of a checkpoint that is read and recognised."""
    path, waivers = checkpoint.path, Waivers(waive)
    target = dict(backbone.state_dict())
    if not found.encoder.keys() & target.keys():
        raise UserError(_no_match(path, found, target))
    _check_architecture(path, found.architecture, backbone, target)

    with blamed(path, found.family):
        fitted = fit(path, found, backbone, target)
    encoder = fitted.encoder
    problems: dict[str, list[str]] = {}
    missing, fresh = missing_tensors(found, encoder, target)
    fresh.update(fitted.fresh)
    missing = [name for name in missing if name not in fresh]
    problems["missing"] = waivers.remaining("missing", missing)
    unexpected, left_over = unexpected_tensors(found, target, fitted.used)
    problems["unexpected"] = waivers.remaining("unexpected", unexpected)
    shared = [name for name in target if name in encoder]
    other_shape = [name for name in shared if encoder[name].shape != target[name].shape]
    problems["shape"] = waivers.remaining("shape", other_shape)
    loaded = [name for name in shared if name not in other_shape]
    _raise_problems(path, found, problems, encoder, target, loaded)
    check_finite(path, {name: encoder[name] for name in loaded}, checkpoint.let_go)

    # A backbone without memory for its parameters takes the file's own tensors (rebuild/case.py: parameters_later).
    hollow = any(parameter.is_meta for parameter in backbone.parameters())
    result = backbone.load_state_dict({name: encoder[name] for name in loaded}, strict=False, assign=hollow)
    if set(result.missing_keys) - set(target) or set(target) - set(loaded) != set(result.missing_keys):
        raise RuntimeError(f"{path}: the backbone took other tensors than planned: {result}")
    notes = [*found.transformations, *fitted.notes]
    # Other image sizes are a matter of every forward pass, too.
    if hasattr(backbone, "set_resampling"):
        backbone.set_resampling(*resampling(found, backbone))  # type: ignore[operator]
    kept = {name: "waived" for name in (*missing, *other_shape)}
    parameters = dict(backbone.named_parameters())
    report = LoadReport(
        path=str(path),
        family=found.family.name,
        container=found.container,
        architecture=found.architecture,
        loaded=loaded,
        parameters=sum(parameters[name].numel() for name in loaded if name in parameters),
        total_tensors=len(target),
        total_parameters=sum(parameter.numel() for parameter in parameters.values()),
        fresh={**fresh, **kept},
        left_over={**left_over, **{name: "waived" for name in unexpected}},
        transformations=notes,
        waived=waivers.used,
        training=checkpoint.training,
    )
    backbone.load_report = report  # type: ignore[assignment]
    return report


def check_finite(path: str | os.PathLike, state: State, looked: Callable[[], object] = lambda: None) -> None:
    """Raises UserError naming the tensors that hold NaN or infinite values, or values that are no floating-point numbers.

    looked: called after each tensor.
    """
    others = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    if others:
        dtype = str(state[others[0]].dtype).removeprefix("torch.")
        raise UserError(
            f"{path}: expected floating-point weights, found {dtype} values in {_first(others)}; a quantised file cannot be used, "
            "get the one that it was made from."
        )
    infinite = []
    for name, tensor in state.items():
        infinite += [] if _is_finite(tensor) else [name]
        looked()
    if infinite:
        raise UserError(
            f"{path} holds values that are not finite (NaN or infinite) in {_first(infinite)}; it cannot be used."
        )


def _is_finite(tensor: Tensor) -> bool:
    # NaN and infinity show in the extremes, which are found without a mask of the tensor's size.
    if not tensor.numel():
        return True
    low, high = (tensor if tensor.dtype.itemsize > 1 else tensor.float()).aminmax()
    return math.isfinite(low) and math.isfinite(high)


def _check_architecture(path: str | os.PathLike, theirs: Architecture, backbone: nn.Module, target: State) -> None:
    ours = read_architecture(target)
    if not ours.kind or not theirs.kind:
        return  # names and shapes decide
    sizes = ("kind", "embed_dim", "patch_size", "depths" if isinstance(ours, Swin) else "depth")
    if any(
        getattr(theirs, size, None) != getattr(ours, size) for size in sizes if getattr(theirs, size, 0) is not None
    ):
        raise UserError(
            f"{path}: the checkpoint is {theirs}, the config's backbone is {ours}; "
            "set the config's arch and patch_size."
        )
    if isinstance(theirs, ViT) and isinstance(ours, ViT):
        # What the file's tensors would say only by their names.
        other = [f"mlp='{theirs.mlp}'"] if theirs.mlp != ours.mlp else []
        if theirs.rel_pos != ours.rel_pos and {theirs.rel_pos, ours.rel_pos} & set(ROTARY):
            other.append(f"rel_pos='{theirs.rel_pos}'")
        if other:
            raise UserError(
                f"{path}: the checkpoint is {theirs}, the config's backbone is {ours}; set the config's {' and '.join(other)}."
            )
    heads = getattr(getattr(_first_block(backbone), "attn", None), "num_heads", None)
    if isinstance(theirs, ViT) and theirs.heads_are_stored and heads not in (None, theirs.num_heads):
        raise UserError(
            f"{path}: the checkpoint was trained with {theirs.num_heads} attention heads, "
            f"the config's backbone has {heads}; set the config's arch."
        )


def _first_block(backbone: nn.Module) -> Any:
    blocks = getattr(backbone, "blocks", None)
    return blocks[0] if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) else None


def _raise_problems(
    path: str | os.PathLike,
    found: Recognised,
    problems: dict[str, list[str]],
    encoder: State,
    target: State,
    loaded: list[str],
) -> None:
    if not loaded:
        raise UserError(_no_match(path, found, target))
    said = []
    if problems["missing"]:
        near = nearest_name(found, problems["missing"][0], target)
        said.append(
            f"{len(problems['missing'])} of the backbone's {len(target)} tensors missing ({_first(problems['missing'])}"
            + (f"; nearest to the first in the file: {near})" if near else ")")
        )
    if problems["unexpected"]:
        said.append(f"{len(problems['unexpected'])} unexpected ({_first(problems['unexpected'])})")
    if problems["shape"]:
        shapes = [f"{n} {list(encoder[n].shape)} for {list(target[n].shape)}" for n in problems["shape"]]
        said.append(f"{len(shapes)} of another shape ({_first(shapes)})")
    if said:
        kind, names = next((kind, names) for kind, names in problems.items() if names)
        raise UserError(
            f"{path} (family {found.family.name}) does not fit the config's backbone: {'; '.join(said)}; "
            f"change the config, or accept it with --waive '{kind}:{names[0]}' (shell patterns allowed)."
        )


def _no_match(path: str | os.PathLike, found: Recognised, target: State) -> str:
    return (
        f"{path}: none of the backbone's {len(target)} tensors is in the checkpoint (family {found.family.name}, first "
        f"names {', '.join(list(found.state)[:3])}); give a checkpoint of this architecture."
    )


def _first(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _grouped(names: dict[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in names.items():
        reasons.setdefault(reason, []).append(name)
    return ", ".join(f"{_first(group)} ({reason})" for reason, group in reasons.items())


@WEIGHT_INITIALIZERS.register_module()
class Pretrained:
    """`init_cfg=dict(type='Pretrained', checkpoint=PATH, waive=[...], switches=[...])` in scope mimeval: `load_backbone`, strict.

    mmengine's own initialiser of this name, which loads whatever happens to fit, stays at `mmengine.Pretrained`.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike,
        waive: Sequence[str] = (),
        trust_pickle: bool = False,
        switches: Sequence[str] = (),
    ):
        self.checkpoint, self.waive, self.trust_pickle, self.switches = checkpoint, waive, trust_pickle, switches

    def __call__(self, module: nn.Module) -> None:
        report = load_backbone(module, self.checkpoint, self.waive, self.trust_pickle, self.switches)
        print_log(str(report), logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"Pretrained: load from {self.checkpoint}")
