"""The short list: what the pickle in a checkpoint may name, and the plain data that stands for it.

Nothing here is imported because a pickle says so, and nothing here runs code from a file: the values are containers,
numbers, arrays, and descriptions of tensors.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Callable
from typing import Any

import torch

from . import arrays
from .arrays import Array, DType, History, as_bytes
from .machine import Machine, Malformed, Opaque, key
from .storages import Stored, Tally, Unusual

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
STORAGE_TYPES = {
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Double": torch.float64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
QUANTISED = ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
# Classes that are a dictionary with attributes: configs, as training scripts put them beside the weights.
DICTIONARIES = (
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")
# Named, as the class of what stands beside them, and never called.
CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray", "builtins.object", "__builtin__.object")


def build_machine(tally: Tally, load: Callable[[Any], Any]) -> Machine:
    """A reader of pickles for this list. load: what stands for a persistent id; for a storage (`Extent`, dtype)."""

    def statistic(owner: Any, name: Any) -> Any:
        # HistoryBuffer pickles its four statistics as `getattr(HistoryBuffer, 'mean')`; an unrestricted getattr on the
        # list would hand a pickle every attribute of every listed class.
        if str(owner) == HISTORY and name in arrays.STATISTICS:
            from mmengine.logging import HistoryBuffer

            return getattr(HistoryBuffer, name)
        call = f"builtins.getattr({owner!s:.80}, {name!r:.40})"
        machine.unlisted[call] = None
        return Opaque(call, [])

    def from_type(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
        made = machine.make(function, arguments)
        if str(kind) not in CLASSES:
            return Opaque(str(kind), [made])
        return _parameter(made, made.requires_grad) if "Parameter" in str(kind) and isinstance(made, Stored) else made

    makers: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(CLASSES, _refuse),
        **dict.fromkeys(DICTIONARIES, _dictionary),
        **{f"pathlib.{name}": _path for name in PATHS},
        **arrays.makers(),
        **_tensor_makers(tally),
        "torch._tensor._rebuild_from_type_v2": from_type,
        "collections.OrderedDict": lambda items=(): collections.OrderedDict(_pairs(items)),
        "collections.defaultdict": lambda *_: collections.defaultdict(),
        "collections.Counter": lambda counts=(): collections.Counter(dict(_pairs(counts))),
        "argparse.Namespace": lambda *_: argparse.Namespace(),
        "types.SimpleNamespace": lambda *_: argparse.Namespace(),
        HISTORY: lambda *_: History(),
        "torch.Size": _tuple,
        "torch.device": lambda *what: torch.device(*(part for part in what if isinstance(part, str | int))),
        "torch.torch_version.TorchVersion": lambda text="": text if isinstance(text, str) else "",
        "_codecs.encode": as_bytes,
    }
    for module in ("builtins", "__builtin__"):
        makers |= {
            f"{module}.getattr": statistic,
            f"{module}.set": _set,
            f"{module}.frozenset": lambda items=(): frozenset(_set(items)),
            f"{module}.list": lambda items=(): list(_tuple(items)),
            f"{module}.tuple": _tuple,
            f"{module}.dict": lambda: {},
            f"{module}.slice": slice,
            f"{module}.complex": lambda real, imaginary: complex(float(real), float(imaginary)),
            f"{module}.bytes": lambda *data: as_bytes(*data) if data else b"",
            f"{module}.bytearray": lambda *data: bytearray(as_bytes(*data) if data else b""),
        }
    for module in ("copyreg", "copy_reg"):
        makers[f"{module}._reconstructor"] = lambda what, *_: machine.make(what, ())

    values: dict[str, Any] = {
        f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
    }
    values["torch.strided"] = "strided"
    for module in ("torch", "torch.cuda", "torch.storage"):
        values |= {f"{module}.{name}Storage": dtype for name, dtype in STORAGE_TYPES.items()}
        values |= {f"{module}.{name}Storage": name for name in QUANTISED}
    machine = Machine(makers, values, _update, load, tally.size)
    return machine


def _update(target: Any, state: Any) -> None:
    # The state that a pickle gives to an object afterwards. Fields that nobody reads are dropped; nothing is called.
    if isinstance(target, argparse.Namespace):
        fields = state[1] if type(state) is tuple and len(state) == 2 else state
        if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
            raise Malformed("it has a namespace that is no list of names")
        vars(target).update(fields)
    elif isinstance(target, Array | DType | History):
        target.update(state)
    elif type(target) is collections.OrderedDict:
        if isinstance(state, dict) and isinstance(state.get("_metadata"), dict):
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]
    elif not isinstance(target, dict | Stored | Unusual):
        raise Malformed(f"its pickle gives a state to a {type(target).__name__}")


def _refuse(*_: Any) -> Any:
    raise Malformed("its pickle makes a tensor in a way that is not known")


def _pairs(items: Any) -> list[tuple]:
    pairs = list(items.items()) if isinstance(items, dict) else list(_tuple(items))
    return [(key(name), value) for name, value in pairs]


def _dictionary(items: Any = (), *_: Any) -> dict:
    return dict(_pairs(items))


def _tuple(items: Any = ()) -> tuple:
    if not isinstance(items, list | tuple | set | frozenset):
        raise Malformed(f"its pickle makes a list of a {type(items).__name__}")
    return tuple(items)


def _set(items: Any = ()) -> set:
    return {key(item) for item in _tuple(items)}


def _path(*parts: Any) -> str:
    return "/".join(part for part in parts if isinstance(part, str)).replace("//", "/")


def _tensor_makers(tally: Tally) -> dict[str, Callable[..., Any]]:
    def tensor(storage: Any, offset: Any, size: Any, stride: Any, grad: Any = False, *more: Any) -> Any:
        if isinstance(storage, Unusual):
            return storage
        if any(isinstance(bits, dict) and any(bits.values()) for bits in more[1:]):  # behind the hooks
            return Unusual("conjugated or negated")
        extent, dtype = storage if type(storage) is tuple and len(storage) == 2 else (None, None)
        return tally.add(dtype, extent, offset, size, stride, grad)

    def of_dtype(
        storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *more: Any
    ) -> Any:
        extent = storage[0] if type(storage) is tuple and len(storage) == 2 else None
        return tensor((extent, dtype), offset, size, stride, grad, hooks, *more)

    def unusual(kind: str) -> Callable[..., Any]:
        return lambda *_: Unusual(kind)

    return {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": of_dtype,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_sparse_tensor": unusual("sparse"),
        "torch._utils._rebuild_qtensor": unusual("quantized"),
        "torch._utils._rebuild_nested_tensor": unusual("nested"),
        "torch._utils._rebuild_meta_tensor_no_storage": unusual("meta"),
        "torch.serialization._get_layout": lambda name="": str(name)[:40],
    }


def _parameter(data: Any, grad: Any = True, *_: Any) -> Any:
    if isinstance(data, Stored):
        data.parameter, data.requires_grad = True, grad is True
    elif not isinstance(data, Unusual):
        raise Malformed("it has a parameter without a tensor")
    return data
