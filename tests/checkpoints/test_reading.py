"""Files that lie, in every format, are refused in one sentence; files of other tools are read without running them."""

import argparse
import collections
import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mimeval.checkpoints.reading import Opaque, finish, read_content
from mimeval.checkpoints.reading.tree import DEEPEST
from mimeval.checkpoints.state import check_whole, read_file, read_state
from mimeval.errors import UserError


def refusal(path: Path) -> str:
    """The one sentence with which a file is refused; reading it takes no time and no memory to speak of."""
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        read_state(path)
    seconds, (_, peak) = time.monotonic() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and str(path.parent) in text and "Traceback" not in text
    assert seconds < 10 and peak < 2 * sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file()) + (
        64 << 20
    )
    return text


def zip_of(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, compress: bool = False) -> Path:
    """An archive as torch.save lays it out, with this data.pkl."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in {"version": b"3\n", **(records or {})}.items():
            archive.writestr(f"archive/{name}", data)
    return path


class Text(str):
    """A name in a pickle, written as it is: `Text('torch._utils\\n_rebuild_tensor_v2')`."""


def tensor_pickle(shape=(2, 2), stride=(2, 1), offset=0, count=4, kind="FloatStorage", key="0") -> bytes:
    """The pickle of {'w': a tensor} with these claims."""
    stream = io.BytesIO()

    class Pickler(pickle._Pickler):  # type: ignore[name-defined]
        def persistent_id(self, obj):
            return obj.identity if isinstance(obj, Storage) else None

    class Storage:
        identity = ("storage", getattr(torch, kind), key, "cpu", count)

    class Tensor:
        def __reduce__(self):
            arguments = (Storage(), offset, shape, stride, False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    Pickler(stream, 2).dump({"w": Tensor()})
    return stream.getvalue()


def test_the_maker_of_lies_can_tell_the_truth(tmp_path):
    values = struct.pack("<4f", 1, 2, 3, 4)
    path = zip_of(tmp_path / "x.pth", tensor_pickle(), {"data/0": values})
    assert torch.equal(read_state(path).state["w"], torch.tensor([[1.0, 2], [3, 4]]))
    assert torch.equal(torch.load(path, weights_only=True)["w"], read_file(path)["w"])


@pytest.mark.parametrize(
    "claims, says",
    [
        (dict(shape=(1 << 20, 1 << 20), stride=(1 << 20, 1)), "needs"),
        (dict(shape=(3, 2)), "needs 24 bytes, of which the file holds 16"),
        (dict(offset=1), "needs 20 bytes"),
        (dict(shape=(-2, 2)), "of shape [-2, 2]"),
        (dict(shape=(2, 2), stride=(2, -1)), "strides [2, -1]"),
        (dict(shape=(2.5, 2)), "of shape [2.5, 2]"),
        (dict(shape=(2, 2), stride=(2,)), "2 dimensions with 1 strides"),
        (dict(shape=(1,) * 40, stride=(1,) * 40), "40 dimensions"),
        (dict(shape=(1 << 60,), stride=(0,)), "of shape"),
        (dict(shape=(1 << 40,), stride=(0,)), "claim"),  # one value, repeated: 4 TB when it is copied
        (dict(count=5), "20 bytes in data/0, which has 16"),
        (dict(count=-1), "storage of -1 values"),
        (dict(kind="DoubleStorage"), "32 bytes in data/0"),
        (dict(key="1"), "data/1, which is not there"),
        (dict(key="../../etc/passwd"), "which is not there"),
    ],
)  # fmt: skip
def test_a_zip_whose_tensors_lie(tmp_path, claims, says):
    path = zip_of(tmp_path / "x.pth", tensor_pickle(**claims), {"data/0": bytes(16)})
    text = refusal(path)
    assert "is damaged or no checkpoint" in text and says in text


def test_a_zip_bomb(tmp_path):
    # 200 MB of zeros in 200 kB.
    path = zip_of(tmp_path / "x.pth", tensor_pickle(count=50_000_000), {"data/0": bytes(200_000_000)}, compress=True)
    assert path.stat().st_size < 1_000_000
    assert "declare 200,000," in refusal(path) and "the whole file has" in refusal(path)
    small = zip_of(tmp_path / "y.pth", tensor_pickle(), {"data/0": bytes(16)}, compress=True)
    assert "is compressed" in refusal(small)


def test_a_zip_whose_parts_overlap(tmp_path):
    path = zip_of(tmp_path / "x.pth", tensor_pickle(), {"data/0": bytes(16), "data/1": bytes(16)})
    data = bytearray(path.read_bytes())
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    places = [at + 42 for at in entries]
    data[places[-1] : places[-1] + 4] = data[places[-2] : places[-2] + 4]
    path.write_bytes(data)
    assert "overlap" in refusal(path)


def test_one_wrong_bit_in_the_weights_is_found(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"model": {"w": torch.randn(1000)}}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.load(path)["model"]["w"][500].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)  # torch does not look
    assert "wrong checksum of its tensors" in refusal(path)
    with pytest.raises(UserError, match="wrong checksum"):
        read_file(path)


# Pickles that exhaust


def nested(levels: int) -> bytes:
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


BOMBS = {
    "deep": (nested(100_000), "nested more than 64 levels"),
    "itself": (b"\x80\x02]q\x00h\x00a.", "contains itself"),
    "long": (b"\x80\x02" + b"]0" * 300_000 + b"N.", "takes more than 25"),
    "sets": (b"\x80\x04(" + b"\x8f" * 2_000_000 + b"t.", "takes more than 25"),
    # A tuple of two of the tuple before, forty times: 2 ** 40 visits to hash it.
    "hash": (
        b"\x80\x02N\x85q\x00" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(40)) + b"}h\x28Ns.",
        "as a key",
    ),
    # All of these have one hash: 2 ** 61 - 1 divides them.
    "collisions": (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0b" + ((2**61 - 1) * (i << 8)).to_bytes(11, "little") + b"N" for i in range(4, 9))
        + b"u.",
        "more than 64 bits",
    ),
    "zeros": (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.", "makes bytes of a int"),
    "memo": (b"\x80\x02Nr\xff\xff\xff\xff.", "holds a NoneType"),
    "mark": (b"\x80\x02t.", "cannot be followed"),
    "no end": (b"\x80\x02}", "cannot be followed"),
    "huge text": (b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"x.", "expected 1099511627776 bytes"),
    "array": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x04abcdtb.",
        "4 bytes of float32",
    ),
    "objects": (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "numpy array of O8"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_exhausts_memory_or_time(tmp_path, name, archive):
    pickled, says = BOMBS[name]
    path = tmp_path / "x.pth"
    if archive:
        zip_of(path, pickled)
    else:
        path.write_bytes(pickled)
    assert says in refusal(path)


def test_depth_counts_through_what_is_shared(tmp_path):
    # 60 levels around 60 levels, of which the inner ones were met before.
    inner: list = []
    for _ in range(DEEPEST - 4):
        inner = [inner]
    outer: list = inner
    for _ in range(DEEPEST - 4):
        outer = [outer]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([inner, outer], protocol=2))
    with pytest.raises(UserError, match="nested more than"):
        read_file(tmp_path / "x.pkl")


# Code


class Calls:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f"open({self.marker!r}, 'w').close()",)


def test_every_unlisted_name_is_listed_and_none_is_called(tmp_path):
    marker = tmp_path / "ran"
    content = {"model": {"w": torch.ones(2)}, "a": Calls(marker), "b": threading_lock_of(marker), "c": io.StringIO}
    torch.save(content, tmp_path / "x.pth")
    text = refusal(tmp_path / "x.pth")
    assert "calls for __builtin__.exec, posix.system, _io.StringIO, which no checkpoint needs" in text
    assert not marker.exists()
    content = read_content(tmp_path / "x.pth")
    tree = finish(content.tree, lambda stored: stored)
    assert isinstance(tree["a"], Opaque) and tree["a"].name == "__builtin__.exec" and tree["model"]["w"].shape == (2,)


def threading_lock_of(marker):
    class Shell:
        def __reduce__(self):
            import os

            return os.system, (f"touch {marker}",)

    return Shell()


@pytest.mark.parametrize(
    "instructions",
    [
        b"cos\nsystem\n",
        b"\x8c\x02os\x8c\x06system\x93",
        b"\x8c\x05posix\x8c\x06system\x93",
        b"c__builtin__\neval\n",
        b"cbuiltins\n__import__\n",
        b"cnumpy.testing._private.utils\nrunstring\n",
        b"ctorch.serialization\nload\n",
        b"ccollections.OrderedDict\n__init__\n",
        b"cargparse\nNamespace.__init__.__globals__\n",
    ],
)
@pytest.mark.parametrize("call", [b"X\x04\x00\x00\x00true\x85R.", b"X\x04\x00\x00\x00true\x85\x81.", b".", b"}b."])
def test_names_outside_the_list_are_refused_however_they_are_written(tmp_path, instructions, call):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + instructions + call)
    assert "calls for" in refusal(tmp_path / "x.pkl")


def test_inst_and_obj_are_no_way_round(tmp_path):
    marker = tmp_path / "ran"
    for name, code in {
        "inst": b"(S'touch %b'\nios\nsystem\n." % bytes(marker),
        "obj": b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncargparse\nNamespace\nX\x08\x00\x00\x00__init__\x86R.",
        "reconstructor": b"\x80\x02ccopyreg\n_reconstructor\ncos\nsystem\ncbuiltins\nobject\nN\x87R.",
    }.items():
        zip_of(tmp_path / f"{name}.pth", code)
        assert "calls for" in refusal(tmp_path / f"{name}.pth")
    assert not marker.exists()


def test_a_state_cannot_be_given_to_what_is_listed(tmp_path):
    # BUILD on a listed name would set attributes of the stand-in, for every later file.
    pickled = b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb."
    zip_of(tmp_path / "x.pth", pickled)
    refusal(tmp_path / "x.pth")
    assert not hasattr(collections.OrderedDict, "a")


# Containers and configs of other tools


def fake(module: str, name: str, base: type = dict) -> type:
    """A class that pickles under another module's name, which need not be installed to be read."""
    return type(
        name,
        (base,),
        {"__module__": module, "__reduce__": lambda self: (_Make(module, name), (), None, None, iter(self.items()))},
    )


class _Make:
    def __init__(self, module, name):
        self.module, self.name = module, name


def test_configs_of_classes_that_are_dictionaries_are_read_as_such(tmp_path):
    # What pickle.dumps(yacs.config.CfgNode(LR=0.1)) writes: the class, its items, its attributes.
    for name in ("yacs.config\nCfgNode", "easydict\nEasyDict", "mmcv.utils.config\nConfigDict"):
        pickled = (
            b"\x80\x02}X\x06\x00\x00\x00configc%b\n)\x81X\x02\x00\x00\x00LRK\x07s}X\x01\x00\x00\x00aK\x01sbs."
            % name.encode()
        )
        (tmp_path / "x.pkl").write_bytes(pickled)
        assert read_file(tmp_path / "x.pkl") == {"config": {"LR": 7}}


def test_what_else_checkpoints_hold_is_read_as_torch_reads_it(tmp_path):
    base = torch.randn(4, 6)
    content = {
        "model": torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict(),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "frozen": torch.nn.Parameter(torch.randn(2), requires_grad=False),
        "view": base.t(),
        "shared": base[1:],
        "expanded": torch.ones(1).expand(3),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(3),
        **{
            str(kind): torch.ones(3).to(kind)
            for kind in (torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
        },
        "sizes": torch.Size([1, 2]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "path": argparse.Namespace(
            out=Path("a/b"), slice=slice(1, 2), items=[(1, "x"), {2: None}], frozen=frozenset({1})
        ),
        "numpy": [
            np.arange(6).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.bool_(True),
            np.float32(0.5),
        ],
        "defaults": collections.defaultdict(list, {"a": [1]}),
        "bytes": [b"ab", bytearray(b"cd")],
        "big": 1 << 70,
    }
    for new_zip in (True, False):
        if new_zip:  # the legacy format has no place for it
            content["eight"] = torch.ones(3, dtype=torch.uint8).view(torch.float8_e4m3fn)
        else:
            del content["eight"]
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new_zip)
        for mmap in (True, False):
            read = read_file(tmp_path / "x.pth", mmap=mmap)
            theirs = torch.load(tmp_path / "x.pth", weights_only=False)
            assert read.keys() == theirs.keys()
            for name, value in theirs.items():
                if isinstance(value, torch.Tensor):
                    assert type(read[name]) is type(value) and read[name].dtype == value.dtype
                    assert read[name].stride() == value.stride() and read[name].requires_grad == value.requires_grad
                    assert torch.equal(read[name].view(torch.uint8) if value.itemsize == 1 else read[name],
                                       value.view(torch.uint8) if value.itemsize == 1 else value)  # fmt: skip
            assert read["view"].untyped_storage().data_ptr() == read["shared"].untyped_storage().data_ptr() or mmap
            assert read["model"]._metadata == theirs["model"]._metadata
            assert all(torch.equal(read["model"][name], tensor) for name, tensor in theirs["model"].items())
            assert all(np.array_equal(a, b) for a, b in zip(read["numpy"], theirs["numpy"], strict=True))
            assert (read["sizes"], read["dtype"], read["device"]) == ((1, 2), torch.float32, torch.device("cpu"))
            assert (
                read["path"].out == "a/b" and read["path"].slice == slice(1, 2) and read["path"].items[1] == {2: None}
            )
            assert (read["defaults"], read["bytes"], read["big"]) == ({"a": [1]}, [b"ab", bytearray(b"cd")], 1 << 70)


def test_arrays_of_a_plain_pickle_are_tensors(tmp_path):
    # detectron2's files; protocol 2 writes bytes as text.
    state = {"a.weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "b": np.arange(3)}
    for protocol in (2, 4, 5):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": state, "__author__": "someone"}, protocol=protocol))
        checkpoint = read_state(tmp_path / "x.pkl")
        assert checkpoint.meta == {"__author__": "someone"}
        assert all(torch.equal(checkpoint.state[name], torch.from_numpy(array)) for name, array in state.items())


def test_reading_a_state_dict_leaves_the_rest_in_the_file(tmp_path):
    # The optimiser of a training checkpoint is twice as large as its model.
    model = {"w": torch.randn(1_000_000)}
    torch.save({"model": model, "optimizer": {"state": {0: {"m": torch.randn(2_000_000)}}}}, tmp_path / "x.pth")
    checkpoint = read_state(tmp_path / "x.pth")
    assert checkpoint.state["w"].untyped_storage().nbytes() == 4_000_000
    assert checkpoint.meta["optimizer"]["state"][0]["m"].nbytes == 8_000_000  # described
    assert torch.equal(checkpoint.state["w"], model["w"])


# safetensors


def tensors_file(path: Path, header: dict | bytes, data: bytes = bytes(24), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape=(2, 3), dtype="F32", offsets=(0, 24)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


LIES = {
    "length": (lambda p: tensors_file(p, {"w": entry()}, length=1 << 40), "header claims 1,099,511,627,776 bytes"),
    "long": (lambda p: tensors_file(p, {"w": entry()}, bytes(40 << 20), length=30 << 20), "which no checkpoint needs"),
    "shape": (lambda p: tensors_file(p, {"w": entry((2, 4))}), "24 bytes for the shape [2, 4] of F32"),
    "negative": (lambda p: tensors_file(p, {"w": entry((-2, -3))}), "the shape [-2, -3]"),
    "absurd": (lambda p: tensors_file(p, {"w": entry((1 << 62, 1 << 62))}), "the shape"),
    "beyond": (lambda p: tensors_file(p, {"w": entry(offsets=(0, 2400))}), "bytes 0 to 2,400 of 24"),
    "backwards": (lambda p: tensors_file(p, {"w": entry(offsets=(24, 0))}), "bytes 24 to 0"),
    "overlap": (lambda p: tensors_file(p, {"v": entry(), "w": entry()}), "overlap"),
    "hole": (lambda p: tensors_file(p, {"w": entry(offsets=(24, 48))}, bytes(48)), "holes"),
    "rest": (lambda p: tensors_file(p, {"w": entry()}, bytes(48)), "describes"),
    "dtype": (lambda p: tensors_file(p, {"w": entry(dtype="F31")}), "the dtype F31"),
    "no offsets": (lambda p: tensors_file(p, {"w": {"dtype": "F32", "shape": [2, 3]}}), "otherwise than by"),
    "floats": (lambda p: tensors_file(p, {"w": entry((2.0, 3))}), "the shape [2.0, 3]"),
    "twice": (lambda p: tensors_file(p, b'{"w":1,"w":2}'), "a name twice"),
    "list": (lambda p: tensors_file(p, b'{"w":[]}'), "otherwise than by"),
    "json": (lambda p: tensors_file(p, b'{"w":'), "no JSON"),
    "nested": (lambda p: tensors_file(p, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "no JSON"),
    "metadata": (lambda p: tensors_file(p, {"__metadata__": {"a": 1}, "w": entry()}), "metadata are not text"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_safetensors_file_that_lies(tmp_path, name):
    make, says = LIES[name]
    assert says in refusal(make(tmp_path / "x.safetensors"))


# Shards


def shards(folder: Path, names: dict | None = None) -> Path:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.randn(2, 2)}
    save_file({"a": tensors["a"], "b": tensors["b"]}, folder / "one.safetensors", {"format": "pt"})
    torch.save({"c": tensors["c"]}, folder / "two.bin")
    index = folder / "model.safetensors.index.json"
    places = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.bin"} if names is None else names
    index.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": places}))
    return index


def test_shards_are_read_as_one(tmp_path):
    checkpoint = read_state(shards(tmp_path))
    assert list(checkpoint.state) == ["a", "b", "c"] and checkpoint.container == "state_dict"
    assert read_file(tmp_path / "model.safetensors.index.json")["state_dict"]["c"].shape == (2, 2)
    check_whole(tmp_path / "model.safetensors.index.json")


@pytest.mark.parametrize(
    "names, says",
    [
        ({"a": "../one.safetensors"}, "expected the plain name of a checkpoint file beside it"),
        ({"a": "/etc/passwd"}, "expected the plain name"),
        ({"a": "..\\one.safetensors"}, "expected the plain name"),
        ({"a": "~/one.safetensors"}, "expected the plain name"),
        ({"a": "sub/one.safetensors"}, "expected the plain name"),
        ({"a": "model.safetensors.index.json"}, "expected the plain name"),
        ({"a": ""}, "expected the plain name"),
        ({"a": "three.safetensors"}, "names the shard three.safetensors, which is not there"),
        ({"a": "one.safetensors"}, "1 are not in the index (the first: b)"),
        (
            {"a": "one.safetensors", "b": "one.safetensors", "d": "two.bin"},
            "1 that it should hold are missing (the first: d)",
        ),
        ({}, "is JSON text, no checkpoint"),
        ({"a": 3}, "is JSON text, no checkpoint"),
    ],
)
def test_an_index_that_lies(tmp_path, names, says):
    (tmp_path / "outside").mkdir()
    assert says in refusal(shards(tmp_path, names))


def test_an_index_that_is_its_own_shard(tmp_path):
    index = shards(tmp_path, {"a": "one.safetensors"})
    (tmp_path / "one.safetensors").write_text(index.read_text())
    refusal(index)


def test_a_malicious_shard_is_refused(tmp_path):
    index = shards(tmp_path)
    torch.save({"c": torch.ones(2), "x": Calls(tmp_path / "ran")}, tmp_path / "two.bin")
    index.write_text(
        json.dumps({"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "two.bin", "x": "two.bin"}})
    )
    assert "calls for __builtin__.exec" in refusal(index)
    assert not (tmp_path / "ran").exists()


# What is no checkpoint at all

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1213275247\n"
OTHERS = {
    "html.pth": ("<!DOCTYPE html>\n<html><head><title>404</title>", "is an HTML page saved under this name"),
    "spaced.pth": ("\n\n  <html lang='en'>", "is an HTML page"),
    "html.safetensors": ("<!doctype html><html>", "is an HTML page"),
    "lfs.pth": (LFS, "is a Git LFS pointer for a file of 1,213,275,247 bytes"),
    "lfs.safetensors": (LFS, "`git lfs pull`"),
    "empty.pth": ("", "is empty (0 bytes)"),
    "config.json": ('{"model_type": "vit"}', "is JSON text, no checkpoint"),
    "notes.txt": ("hello", "is no checkpoint: expected"),
    "x.pth.gz": (b"\x1f\x8b\x08\x00 ", "found a gzip archive"),
    "x.h5": (b"\x89HDF\r\n\x1a\n", "found an HDF5 file"),
    "x.npy": (b"\x93NUMPY\x01\x00", "found a single numpy array"),
    "x.tar": (bytes(257) + b"ustar" + bytes(300), "is a tar archive"),
    "x.safetensors": (b"\x00\x01", "header claims"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_named(tmp_path, name):
    data, says = OTHERS[name]
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    assert says in refusal(tmp_path / name)


def test_archives_of_other_things_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    assert "holds numpy arrays" in refusal(tmp_path / "x.npz")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "x.pt")
    assert "is a TorchScript archive" in refusal(tmp_path / "x.pt")


def test_folders_and_pipes_are_named(tmp_path):
    import os

    (tmp_path / "model").mkdir()
    assert "is a folder, where a checkpoint file is expected." in refusal(tmp_path / "model")
    shards(tmp_path / "model")
    assert f"give {tmp_path}/model/model.safetensors.index.json" in refusal(tmp_path / "model")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is no regular file" in refusal(tmp_path / "pipe.pth")
