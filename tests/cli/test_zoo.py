"""`mimeval zoo` by its arguments: what it prints, downloads, verifies and returns."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from mimeval.cli.main import main
from tests.checkpoints.server import digest, no_proxy, serving
from tests.checkpoints.test_inspect import plain_vit

__all__ = ["no_proxy"]
pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.fixture(scope="module")
def data() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": plain_vit()}, stream)
    return stream.getvalue()


def listed(folder, server, **more) -> str:
    """A list with one entry, `tiny`, that this server has."""
    entry = {"family": "mae", "source": "a/b, README.md", "address": f"{server.address}/tiny.pth", **more}
    (folder / "zoo.yaml").write_text(yaml.safe_dump({"tiny": entry}))
    return str(folder / "zoo.yaml")


def test_list_and_show(capsys):
    assert main(["zoo", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mae_pretrain_vit_base  ") and "83.6 % top-1" in line for line in lines)
    assert main(["zoo", "list", "--family", "localmim_swin", "--json"]) == 0
    assert {entry["family"] for entry in json.loads(capsys.readouterr().out)} == {"localmim_swin"}
    assert main(["zoo", "show", "mae_pretrain_vit_large"]) == 0
    shown = capsys.readouterr().out
    assert "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth" in shown and "md5 b8b06e" in shown
    assert "85.9 % top-1, ImageNet-1K fine-tuning (MAE README" in shown
    for name, says in (("deit_small_patch16_224", "sha256 cd65a155..."), ("dino_vits16", "none is published")):
        assert main(["zoo", "show", name]) == 0 and f"  checksum  {says}\n" in capsys.readouterr().out
    assert main(["zoo", "show", "mae_pretrain_vit_large", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"][0]["value"] == 85.9


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["list", "--family", "vgg"], "has none of this family"),
        (["show", "mae_vit_base"], "did you mean mae_pretrain_vit_base"),
        (["get", "simmim_vit_base_800ep"], "is offered on a page only"),
        (["list", "--zoo", "gone.yaml"], "zoo gone.yaml: expected a list of checkpoints, found: No such file"),
        (["verify", "mae_pretrain_vit_base", "gone.pth"], "gone.pth cannot be read"),
        (["get", "../../etc/passwd"], "The zoo has no checkpoint '../../etc/passwd'"),
        ([], "the following arguments are required: WHAT"),
    ],
)
def test_wrong_arguments_are_a_sentence(arguments, says, capsys):
    assert main(["zoo", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_get_verify_and_inspect(tmp_path, data, capsys):
    with serving(data) as server:
        zoo = listed(tmp_path, server, sha256=digest(data))
        get = ["zoo", "get", "tiny", "--zoo", zoo, "--out", str(tmp_path / "out")]
        assert main(get) == 0
        said = capsys.readouterr().out
        assert f"{tmp_path}/out/tiny.pth: its sha256 is the one that a/b, README.md states" in said
        assert f"next: mimeval inspect {tmp_path}/out/tiny.pth" in said
        assert (tmp_path / "out" / "tiny.pth").read_bytes() == data
        assert main(get) == 0 and "is there already: its sha256" in capsys.readouterr().out
        assert main([*get, "--force"]) == 0 and len(server.requests) == 2
    capsys.readouterr()
    file = str(tmp_path / "out" / "tiny.pth")
    assert main(["zoo", "verify", "tiny", file, "--zoo", zoo]) == 0
    assert (
        "its sha256 is the one that a/b, README.md states; family mae, ViT width 32 depth 2" in capsys.readouterr().out
    )
    assert main(["inspect", file]) == 0


def test_the_first_digits_are_enough(tmp_path, data, capsys):
    with serving(data) as server:
        zoo = listed(tmp_path, server, sha256=digest(data)[:8])
        assert main(["zoo", "get", "tiny", "--zoo", zoo, "--out", str(tmp_path / "out")]) == 0
    said = f"its sha256 begins with {digest(data)[:8]}, as a/b, README.md states; sha256 {digest(data)}"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("stated, shown", [("0" * 64, "0" * 64), ("0" * 8, "0" * 8 + "...")])
def test_a_wrong_file_does_not_stay(tmp_path, data, capsys, stated, shown):
    with serving(data) as server:
        zoo = listed(tmp_path, server, sha256=stated)
        assert main(["zoo", "get", "tiny", "--zoo", zoo, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"expected sha256 {shown}, found {digest(data)}" in said and "/tiny.pth gave is not tiny" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_verify_finds_another_family_and_damage(tmp_path, data, capsys):
    with serving(data) as server:
        zoo = listed(tmp_path, server, family="simmim")
    (tmp_path / "x.pth").write_bytes(data)
    assert main(["zoo", "verify", "tiny", str(tmp_path / "x.pth"), "--zoo", zoo]) == 2
    assert "expected family simmim, found mae" in capsys.readouterr().err
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 255
    (tmp_path / "x.pth").write_bytes(damaged)
    assert main(["zoo", "verify", "tiny", str(tmp_path / "x.pth"), "--zoo", zoo]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_malicious_file_is_verified_without_being_run(tmp_path, capsys):
    class Calls:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"model": plain_vit(), "x": Calls()}, tmp_path / "x.pth")
    with serving((tmp_path / "x.pth").read_bytes()) as server:
        zoo = listed(tmp_path, server)
        assert main(["zoo", "get", "tiny", "--zoo", zoo, "--out", str(tmp_path / "out")]) == 0
    main(["zoo", "verify", "tiny", str(tmp_path / "out" / "tiny.pth"), "--zoo", zoo])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_download_goes_on(tmp_path, signum, code):
    data = os.urandom(8 << 20)
    with serving(data) as server:
        server.slow = 0.05
        zoo = listed(tmp_path, server, sha256=digest(data))
        command = [sys.executable, "-m", "mimeval", "zoo", "get", "tiny", "--zoo", zoo, "--out", str(tmp_path / "out")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        part = tmp_path / "out" / ".tiny.pth.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 500_000) and time.monotonic() < deadline:
            time.sleep(0.02)
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signum)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == code and "the same command goes on from there" in stderr.splitlines()[-1]
        assert not (tmp_path / "out" / "tiny.pth").exists() and part.exists()
        server.slow = 0.0
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert server.requests[0] is None and server.requests[1].startswith("bytes=")
    assert (tmp_path / "out" / "tiny.pth").read_bytes() == data


def test_listing_needs_no_torch():
    code = "import sys\nfrom mimeval.cli.main import main\nassert main(['zoo', 'list']) == 0\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
