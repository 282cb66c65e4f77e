"""Damaged checkpoint files by the thousand: reading one succeeds or raises a UserError, soon and in little memory.

    python -m tests.checkpoints.fuzz --count 1000

prints the outcomes by format. The suite runs a hundred of each (test_fuzz.py); MIMEVAL_FUZZ sets another number.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import random
import re
import signal
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mimeval.checkpoints import inspect, load_backbone
from mimeval.checkpoints.formats import recognise
from mimeval.checkpoints.screen import render
from mimeval.checkpoints.state import check_whole, read_file, read_state
from mimeval.cli.main import sentence
from mimeval.errors import UserError

SECONDS = 10
TIMES_THE_FILE = 2
# What Python, torch and zipfile keep for themselves while they read anything at all, and the largest pickle machine.
FLOOR = 64 << 20
NUMBERS = (
    0,
    1,
    2,
    7,
    255,
    256,
    65535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def state() -> dict[str, torch.Tensor]:
    """A MAE encoder of width 8 with one block."""
    shapes = {
        "cls_token": (1, 1, 8),
        "pos_embed": (1, 5, 8),
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "norm.weight": (8,),
    }
    shapes |= {"patch_embed.proj.bias": (8,), "norm.bias": (8,)}
    linear = {
        "attn.qkv": (24, 8),
        "attn.proj": (8, 8),
        "mlp.fc1": (16, 8),
        "mlp.fc2": (8, 16),
        "norm1": (8,),
        "norm2": (8,),
    }
    for name, shape in linear.items():
        shapes |= {f"blocks.0.{name}.weight": shape, f"blocks.0.{name}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def content() -> dict:
    buffer = HistoryBuffer()
    buffer.update(0.5)
    return {
        "model": collections.OrderedDict(state()),
        "epoch": 3,
        "args": argparse.Namespace(model="mae_vit_patch4", lr=1e-3, betas=(0.9, 0.95), names=["a", None]),
        "optimizer": {
            "state": {0: {"step": torch.tensor(4), "m": torch.ones(3, dtype=torch.float16)}},
            "param_groups": [],
        },
        "history": buffer,
        "scalar": np.float64(0.25),
        "array": np.arange(4, dtype=np.float32),
    }


# Files of each format, by name; the first is what the reader is given.

Files = dict[str, bytes]


def whole_zip() -> Files:
    return {"x.pth": _saved(True)}


def whole_legacy() -> Files:
    return {"x.pth": _saved(False)}


def whole_safetensors() -> Files:
    return {"x.safetensors": _safetensors(state())}


def whole_sharded() -> Files:
    tensors = state()
    names = list(tensors)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {name: file for file, inside in parts.items() for name in inside},
    }
    shards = {file: _safetensors({name: tensors[name] for name in inside}) for file, inside in parts.items()}
    return {"model.safetensors.index.json": json.dumps(index).encode(), **shards}


def _saved(new_zip: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(content(), stream, _use_new_zipfile_serialization=new_zip)
    return stream.getvalue()


def _safetensors(tensors: dict, header: dict | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder, "x"), {"format": "pt", **(header or {})})
        return Path(folder, "x").read_bytes()


FORMATS: dict[str, Callable[[], Files]] = {
    "zip": whole_zip,
    "legacy": whole_legacy,
    "safetensors": whole_safetensors,
    "sharded": whole_sharded,
}


# Damage


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes, hot: tuple[int, int] | None = None) -> bytes:
    """Flipped, cut, inserted, removed, repeated or overwritten bytes, half of them where the structure is."""

    def place() -> int:
        low, high = hot if hot and draw(st.booleans()) else (0, len(whole))
        if draw(st.booleans()):
            return draw(st.integers(low, max(low, high - 1)))
        # Hypothesis likes the ends of a range; damage is everywhere.
        return random.Random(draw(st.integers(0, 1 << 32))).randrange(low, max(low + 1, high))

    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = place()
        match draw(st.sampled_from(["flip", "flip", "flip", "number", "cut", "insert", "remove", "repeat"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "number":
                form = draw(st.sampled_from("<B <H <I <Q >I >Q".split()))
                number = draw(st.sampled_from(NUMBERS)) % (1 << 8 * struct.calcsize(form))
                data[at : at + struct.calcsize(form)] = struct.pack(form, number)
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


TEXTS = ("0x0", "-1x7", "3x3", "999x999", "1x99999999999", "9" * 30, "{", "[" * 3000, "model = dict(backbone=dict(img_size='x', patch_size=0))",
         "model = dict(backbone=dict(arch=dict(num_heads='many'), taps=[99, None]))", "model = 1", "'" * 50, "\0", "é\n")  # fmt: skip
HEADERS = ("grid", "num_heads", "facts", "training", "cfg", "family", "config", "args", "format")


@st.composite
def odd_content(draw: st.DrawFn) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A state dict in order whose tensors no family has so, and what stands beside it."""
    tensors = state()
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(tensors)))
        match draw(st.sampled_from(["drop", "rename", "shape", "dtype", "nan", "prefix", "add"])):
            case "drop" if len(tensors) > 1:
                del tensors[name]
            case "rename":
                tensors[draw(st.one_of(st.text(max_size=12), st.sampled_from(sorted(tensors))))] = tensors.pop(name)
            case "shape":
                tensors[name] = torch.zeros(draw(st.lists(st.integers(0, 5), max_size=5)))
            case "dtype":
                tensors[name] = tensors[name].to(
                    draw(st.sampled_from([torch.float16, torch.int8, torch.bool, torch.float64]))
                )
            case "nan":
                tensors[name] = torch.full_like(tensors[name], draw(st.sampled_from([float("nan"), float("inf"), 0.0])))
            case "prefix":
                prefix = draw(
                    st.sampled_from(["module.", "backbone.", "encoder.", "model.", "blocks.0.", "teacher.", "x."])
                )
                tensors = {prefix + key: value for key, value in tensors.items()}
            case "add":
                more = ["blocks.7.attn.q_bias", "blocks.0.ls1.gamma", "register_tokens", "layers.0.blocks.0.attn.qkv.weight",
                        "blocks.0.attn.rel_pos_h", "rel_pos_bias.relative_position_bias_table", "norm.0.weight", "mask_token",
                        "blocks.0.attn.relative_position_bias_table", "head.weight", "dist_token", "pred_head.projections.0.weight"]  # fmt: skip
                tensors[draw(st.sampled_from(more))] = torch.zeros(draw(st.lists(st.integers(0, 5), max_size=4)))
    return tensors, draw(st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(TEXTS), max_size=3))


@st.composite
def odd_pth(draw: st.DrawFn, new_zip: bool) -> Files:
    tensors, header = draw(odd_content())
    keys = [
        "model",
        "state_dict",
        "teacher",
        "student",
        "model_ema",
        "module",
        "model_state",
        "encoder",
        "target_encoder",
        "optimizer",
    ]
    content: dict = {draw(st.sampled_from(keys)): tensors for _ in range(draw(st.integers(1, 2)))}
    if draw(st.booleans()):
        content = dict(tensors)
    content[draw(st.sampled_from(["meta", "args", "epoch"]))] = header
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=new_zip)
    return {"x.pth": stream.getvalue()}


OPCODES = b"(.0123FNPQRTUVXIJKLMNBCGSb}]a)ed\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98qrhjtulsioc"
NAMES = ("torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage", "collections\nOrderedDict", "posix\nsystem", "builtins\ngetattr",
         "numpy.core.multiarray\n_reconstruct", "numpy\ndtype", "argparse\nNamespace", "builtins\nbytearray", "copyreg\n_reconstructor",
         "mmengine.logging.history_buffer\nHistoryBuffer", "torch.nn.parameter\nParameter", "torch\nSize", "pathlib\nPosixPath")  # fmt: skip


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """Instructions in random order, with names that the reader knows among them."""
    pieces = st.one_of(
        st.sampled_from([bytes([code]) for code in OPCODES]),
        st.sampled_from(NAMES).map(lambda name: f"c{name}\n".encode()),
        st.sampled_from(NUMBERS).map(lambda number: b"\x8a\x09" + (number % (1 << 64)).to_bytes(9, "little")),
        st.integers(0, 255).map(lambda number: b"K" + bytes([number])),
        st.text(max_size=6).map(lambda text: b"X" + struct.pack("<I", len(text.encode())) + text.encode()),
        st.just(b"X\x07\x00\x00\x00storage"),
    )
    return b"\x80\x02" + b"".join(draw(st.lists(pieces, max_size=40))) + b"."


def _repacked(whole: bytes, pickled: bytes) -> bytes:
    # An archive that is in order, with another data.pkl in it.
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else old.read(entry))
    return stream.getvalue()


@st.composite
def bad_zip(draw: st.DrawFn) -> Files:
    whole = WHOLE["zip"]["x.pth"]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    how = draw(st.sampled_from(["bytes", "directory", "pickle", "opcodes", "content"]))
    if how == "content":
        return draw(odd_pth(True))
    if how == "pickle":
        return {"x.pth": _repacked(whole, draw(damaged_bytes(pickled)))}
    if how == "opcodes":
        return {"x.pth": _repacked(whole, draw(pickles()))}
    hot = (whole.index(b"PK\x01\x02"), len(whole)) if how == "directory" else None
    return {"x.pth": draw(damaged_bytes(whole, hot))}


@st.composite
def bad_legacy(draw: st.DrawFn) -> Files:
    whole = WHOLE["legacy"]["x.pth"]
    if draw(st.integers(0, 4)) == 0:
        return draw(odd_pth(False))
    if draw(st.integers(0, 3)) == 0:
        magic = (
            pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
        )
        return {"x.pth": (magic if draw(st.booleans()) else b"") + draw(pickles()) + draw(st.binary(max_size=60))}
    return {"x.pth": draw(damaged_bytes(whole, (0, whole.rindex(b"]q") + 400)))}


@st.composite
def bad_safetensors(draw: st.DrawFn) -> Files:
    if draw(st.integers(0, 3)) == 0:
        tensors, header = draw(odd_content())
        return {"x.safetensors": _safetensors(tensors, header)}
    return {"x.safetensors": draw(_bad_tensors(WHOLE["safetensors"]["x.safetensors"]))}


@st.composite
def _bad_tensors(draw: st.DrawFn, whole: bytes) -> bytes:
    length = int.from_bytes(whole[:8], "little")
    if draw(st.booleans()):
        return draw(damaged_bytes(whole, (0, 8 + length)))
    header = json.loads(whole[8 : 8 + length])
    odd = st.one_of(
        st.sampled_from(NUMBERS), st.integers(-3, 400), st.none(), st.text(max_size=5), st.floats(), st.booleans()
    )
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(header)))
        entry = header[name] if isinstance(header[name], dict) else {}
        match draw(st.sampled_from(["shape", "side", "offset", "dtype", "rename", "drop", "key"])):
            case "shape" if "shape" in entry:
                entry["shape"] = draw(st.lists(odd, max_size=5))
            case "side" if entry.get("shape"):
                entry["shape"][0] = draw(odd)
            case "offset" if entry.get("data_offsets"):
                entry["data_offsets"][draw(st.integers(0, 1))] = draw(odd)
            case "dtype" if entry:
                entry["dtype"] = draw(st.one_of(st.sampled_from(["F16", "F64", "I8", "BOOL", "F4", "U64"]), odd))
            case "rename":
                header[draw(st.text(max_size=8))] = header.pop(name)
            case "drop":
                del header[name]
            case "key" if entry:
                entry.pop(draw(st.sampled_from(sorted(entry))))
        if not header:
            break
    text = json.dumps(header).encode()
    size = draw(st.one_of(st.just(len(text)), st.sampled_from(NUMBERS)))
    return struct.pack("<Q", size) + text + whole[8 + length :]


@st.composite
def bad_sharded(draw: st.DrawFn) -> Files:
    files = dict(WHOLE["sharded"])
    index = next(iter(files))
    how = draw(st.sampled_from(["index", "map", "map", "shard", "lost", "content"]))
    if how == "content":
        tensors, header = draw(odd_content())
        places = {name: "a.safetensors" for name in tensors}
        return {index: json.dumps({"weight_map": places}).encode(), "a.safetensors": _safetensors(tensors, header)}
    if how == "index":
        files[index] = draw(damaged_bytes(files[index]))
    elif how == "shard":
        name = draw(st.sampled_from(["a.safetensors", "b.safetensors"]))
        files[name] = draw(_bad_tensors(files[name]))
    elif how == "lost":
        del files[draw(st.sampled_from(["a.safetensors", "b.safetensors"]))]
    else:
        content = json.loads(files[index])
        names = content["weight_map"]
        places = [
            "b.safetensors",
            "c.safetensors",
            "../a.safetensors",
            "/etc/passwd",
            "..",
            "",
            index,
            None,
            3,
            "a.safetensors\0",
        ]
        for _ in range(draw(st.integers(1, 3))):
            key = draw(st.one_of(st.sampled_from(sorted(names)), st.text(max_size=5)))
            names[key] = draw(st.one_of(st.sampled_from(places), st.text(max_size=12)))
        if draw(st.booleans()):
            names.pop(draw(st.sampled_from(sorted(names))))
        files[index] = json.dumps(content).encode()
    return files


BAD = {"zip": bad_zip, "legacy": bad_legacy, "safetensors": bad_safetensors, "sharded": bad_sharded}
WHOLE = {name: make() for name, make in FORMATS.items()}


# What must hold


WORST = {"s": 0.0, "MB": 0.0}


class TooSlow(Exception):
    pass


def outcome(folder: Path, files: Files) -> str:
    """`success`, or the sentence of a UserError without what is particular to the file. Anything else is raised."""
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    path = folder / next(iter(files))
    before, start = _fresh_peak(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS)
    try:
        said = _read(path)
    finally:
        signal.alarm(0)
    seconds, memory = time.monotonic() - start, _peak() - before
    WORST["s"], WORST["MB"] = max(WORST["s"], seconds), max(WORST["MB"], memory / 1e6)
    size = sum(map(len, files.values()))
    assert seconds < SECONDS, f"{seconds:.1f} s for {size} bytes"
    assert memory <= TIMES_THE_FILE * size + FLOOR, f"{memory:,} bytes of memory for {size:,}"
    if said:
        assert "\n" not in said and str(folder) in said and said.endswith("."), said
    return _shortened(said, folder) if said else "success"


def _read(path: Path) -> str:
    said = ""
    for use in (_use_state, read_file, check_whole, _use_inspection, _use_backbone):
        try:
            use(path)
        except UserError as error:
            said = said or sentence(error)
    return said


def _use_state(path: Path) -> None:
    checkpoint = read_state(path)
    for tensor in checkpoint.state.values():
        tensor.clone()
    recognise(checkpoint)


def _use_backbone(path: Path) -> None:
    load_backbone(path, num_heads=2)


def _use_inspection(path: Path) -> None:
    found = inspect(path)
    json.dumps(found.as_dict(), default=str)
    assert render(found).startswith(str(path))


def _too_slow(*_: object) -> None:
    raise TooSlow(f"more than {SECONDS} s")


def _fresh_peak() -> int:
    """Bytes of memory now, from which `_peak` is counted anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 1 << 62  # no such count here
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM") if Path("/proc/self/status").exists() else 0


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", text)[1])


def _shortened(said: str, folder: Path) -> str:
    said = re.sub(rf"{re.escape(str(folder))}/\S+", "FILE", said).rstrip(".").partition(";")[0]
    said = re.sub(r"'.*'|\".*\"|b'.*", "...", said)
    said = re.sub(
        r"(of shape|the shape|the offsets|the dtype|gives|puts|names the shard|keys are|calls for|protocol) .*",
        r"\1 ...",
        said,
    )
    return re.sub(r"-?[\d,]*\d", "#", said)[:90]


def run(name: str, count: int) -> collections.Counter:
    """`count` damaged files of a format, read. Raises what must not happen."""
    outcomes: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        assert outcome(Path(folder), WHOLE[name]) == "success"

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(BAD[name]())
        def check(files: Files) -> None:
            outcomes[outcome(Path(folder), files)] += 1

        check()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count", type=int, default=int(os.environ.get("MIMEVAL_FUZZ", 1000)), help="files of each format"
    )
    parser.add_argument("--format", choices=sorted(FORMATS), help="only this one")
    args = parser.parse_args()
    for name in [args.format] if args.format else FORMATS:
        start = time.monotonic()
        outcomes = run(name, args.count)
        total = sum(outcomes.values())
        print(f"{name}: {total:,} files in {time.monotonic() - start:.0f} s, {outcomes['success']:,} read, "
              f"{total - outcomes['success']:,} refused in {len(outcomes) - ('success' in outcomes)} ways")  # fmt: skip
        print(f"  the slowest {WORST['s']:.2f} s, the largest growth of memory {WORST['MB']:.1f} MB")
        for said, times in outcomes.most_common():
            print(f"  {times:>6,}  {said}")


if __name__ == "__main__":
    main()
