"""Files are read without running them, every bad one gives one sentence, and writing is all or nothing."""

import argparse
import collections
import os
import pickle
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mimeval.checkpoints.state import Checkpoint, read_file, read_state, sha256, write_pth, write_safetensors
from mimeval.checkpoints.writing import save_pth
from mimeval.errors import UserError


class Bomb:
    """Pickled, it creates a file when it is unpickled in full."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f"open({self.marker!r}, 'w').close()",)


def sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and text.count("Traceback") == 0
    return text


@pytest.mark.parametrize("new_zip", [True, False])
def test_a_malicious_pickle_is_refused_and_named(tmp_path, new_zip):
    marker, path = tmp_path / "ran", tmp_path / "bomb.pth"
    torch.save({"model": {"w": torch.ones(2)}, "x": Bomb(marker)}, path, _use_new_zipfile_serialization=new_zip)
    with pytest.raises(UserError) as error:
        read_file(path)
    assert "exec" in sentence(error) and "--trust-pickle" in str(error.value)
    assert not marker.exists()
    read_file(path, trust_pickle=True)
    assert marker.exists()  # the bomb is real


def test_a_bare_malicious_pickle_is_refused(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(UserError):
        read_file(path)
    assert not marker.exists()


def test_getattr_reaches_the_statistics_of_a_history_buffer_only(tmp_path):
    class Reach:
        def __init__(self, owner, name):
            self.args = owner, name

        def __reduce__(self):
            return getattr, self.args

    torch.save({"m": Reach(HistoryBuffer, "mean")}, tmp_path / "mean.pth")
    assert read_file(tmp_path / "mean.pth")["m"] is HistoryBuffer.mean
    for owner, name in ((HistoryBuffer, "__init__"), (np.ndarray, "tofile"), (argparse.Namespace, "__class__")):
        torch.save({"m": Reach(owner, name)}, tmp_path / "reach.pth")
        with pytest.raises(UserError):
            read_file(tmp_path / "reach.pth")


@pytest.mark.parametrize("new_zip", [True, False])
def test_what_checkpoints_hold_is_read(tmp_path, new_zip):
    buffer = HistoryBuffer()
    buffer.update(2.5)
    content = {
        "model": collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3)),
        "args": argparse.Namespace(model="mae_vit_base_patch16", lr=1e-3, betas=(0.9, 0.95)),
        "scalar": np.float64(0.25),
        "steps": np.int64(7),
        "array": np.arange(4, dtype=np.float32),
        "names": np.array(["cat", "dog"]),
        "counter": collections.Counter(a=2),
        "buffer": buffer,
        "set": {1, 2},
    }
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new_zip)
    read = read_file(tmp_path / "x.pth")
    assert torch.equal(read["model"]["w"], content["model"]["w"])
    assert vars(read["args"]) == vars(content["args"])
    assert (read["scalar"], read["steps"], read["counter"], read["set"]) == (0.25, 7, {"a": 2}, {1, 2})
    assert np.array_equal(read["array"], content["array"]) and list(read["names"]) == ["cat", "dog"]
    assert read["buffer"].current() == 2.5


def test_the_state_dict_is_found_and_the_rest_is_meta(tmp_path):
    nested = {"epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(1)}}}, "model": {"a": torch.ones(2)}}
    torch.save(nested, tmp_path / "nested.pth")
    checkpoint = read_state(tmp_path / "nested.pth")
    assert checkpoint.container == "model" and list(checkpoint.state) == ["a"] and checkpoint.meta["epoch"] == 3
    torch.save({"a": torch.ones(2)}, tmp_path / "bare.pth")
    assert read_state(tmp_path / "bare.pth").container == ""
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", {"tool": "test"})
    checkpoint = read_state(tmp_path / "x.safetensors")
    assert checkpoint.container == "state_dict" and checkpoint.meta["meta"] == {"tool": "test"}


def cut(path, source):
    path.write_bytes(source[: len(source) // 2])


BAD = {
    "missing": (lambda p, pth, st: None, "does not exist"),
    "empty": (lambda p, pth, st: p.touch(), "empty"),
    "folder": (lambda p, pth, st: p.mkdir(), "folder"),
    "text": (lambda p, pth, st: p.write_text("<html>404</html> not found at all"), "no checkpoint"),
    "one byte": (lambda p, pth, st: p.write_bytes(b"\x80"), "is damaged or no checkpoint: its pickle"),
    "cut pth": (lambda p, pth, st: cut(p, pth), "cut short"),
    "cut safetensors": (lambda p, pth, st: cut(p, st), "header puts w at bytes"),
    "no tensors": (lambda p, pth, st: torch.save({"epoch": 3}, p), "no tensors"),
    "no dictionary": (lambda p, pth, st: torch.save([1, 2], p), "list"),
    "other zip": (lambda p, pth, st: zipfile.ZipFile(p, "w").writestr("a.txt", "hello"), "zip archive"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, case):
    torch.save({"model": {"w": torch.randn(64, 64)}}, tmp_path / "good.pth")
    save_file({"w": torch.randn(64, 64)}, tmp_path / "good.safetensors")
    make, expected = BAD[case]
    path = tmp_path / "bad.pth"
    made = make(path, (tmp_path / "good.pth").read_bytes(), (tmp_path / "good.safetensors").read_bytes())
    del made  # closes the zip archive
    with pytest.raises(UserError) as error:
        read_state(path)
    assert expected in sentence(error) and str(path) in str(error.value)


def test_a_cut_legacy_pickle_is_one_sentence(tmp_path):
    torch.save({"w": torch.randn(64)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pth").read_bytes()
    for end in (20, 60, len(old) // 2, len(old) - 8):
        (tmp_path / "cut.pth").write_bytes(old[:end])
        with pytest.raises(UserError) as error:
            read_state(tmp_path / "cut.pth")
        sentence(error)


def test_a_file_without_permission_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(1)}, path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything

        def deny(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", deny)
    with pytest.raises(UserError) as error:
        read_state(path)
    assert "Permission denied" in sentence(error)


@pytest.mark.parametrize("address", ["https://example.org/x.pth", "http://a/b", "s3://b/x", "open-mmlab://resnet50"])
def test_addresses_are_not_downloaded(address):
    with pytest.raises(UserError) as error:
        read_file(address)
    assert "does not download" in sentence(error)


def test_writing_round_trips(tmp_path):
    # A view and two names for one memory: what safetensors refuses as it is.
    base = torch.randn(4, 6)
    state = {"a": base.t(), "b": base, "c": base[1:]}
    write_safetensors(tmp_path / "new" / "x.safetensors", state, {"source": "y", "sizes": [1, 2]})
    write_pth(tmp_path / "x.pth", {"state_dict": state})
    for path in (tmp_path / "new" / "x.safetensors", tmp_path / "x.pth"):
        read = read_state(path).state
        assert read.keys() == state.keys() and all(torch.equal(read[n], state[n]) for n in state)
    assert read_state(tmp_path / "new" / "x.safetensors").meta["meta"] == {
        "format": "pt",
        "source": "y",
        "sizes": "[1, 2]",
    }
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x.pth").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, extension):
    path = tmp_path / f"x.{extension}"
    path.write_text("old")

    def disk_full(source, target):
        assert os.path.getsize(source) > 1000  # the new file was there, whole, under another name
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(UserError) as error:
        if extension == "pth":
            write_pth(path, {"w": torch.ones(1000)})
        else:
            write_safetensors(path, {"w": torch.ones(1000)})
    assert "No space left" in sentence(error)
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError) as error:
        write_pth(tmp_path / "file" / "x.pth", {"w": torch.ones(1)})
    assert "cannot be written" in sentence(error)
    assert os.listdir(tmp_path) == ["file"]


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_content_gives_equal_bytes(tmp_path):
    state = {f"layer.{i}.weight": torch.full((3, 2), float(i)) for i in range(5)}
    meta = {f"key {i}": f"ü {i}" for i in range(12)}
    for name in ("a", "b", "c"):
        write_safetensors(tmp_path / f"{name}.safetensors", state, meta)
    contents = {(tmp_path / f"{name}.safetensors").read_bytes() for name in ("a", "b", "c")}
    assert len(contents) == 1
    read = read_state(tmp_path / "a.safetensors")
    assert read.state.keys() == state.keys() and all(torch.equal(read.state[name], state[name]) for name in state)


def resident_of_files() -> int:
    """Bytes of mapped files that this process has in memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="the system says what is in memory on Linux alone")
@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_memory_of_mapped_tensors_is_given_back_and_their_values_stay(tmp_path, extension):
    state = {f"w{number}": torch.full((2 << 20,), float(number)) for number in range(8)}  # 64 MB
    if extension == "pth":
        write_pth(tmp_path / "x.pth", {"model": state})
    else:
        write_safetensors(tmp_path / "x.safetensors", state)
    checkpoint = read_state(tmp_path / f"x.{extension}")
    before = resident_of_files()
    sums = [tensor.sum().item() for tensor in checkpoint.state.values()]
    assert resident_of_files() - before > 60e6
    checkpoint.let_go()
    assert resident_of_files() - before < 4e6
    assert [tensor.sum().item() for tensor in checkpoint.state.values()] == sums
    Checkpoint(tmp_path, {"": {}}).let_go()  # nothing is mapped


def test_a_converted_file_is_the_same_whether_it_is_told_about_or_not(tmp_path):
    content = {"model": {"w": torch.arange(1 << 22), "v": torch.ones(3)}, "epoch": 3}
    told = []
    save_pth(tmp_path / "told.pth", content, lambda: told.append(1))
    save_pth(tmp_path / "plain.pth", content)
    ours, theirs = (read_state(tmp_path / f"{name}.pth") for name in ("told", "plain"))
    assert ours.meta == theirs.meta and all(torch.equal(ours.state[key], theirs.state[key]) for key in content["model"])
