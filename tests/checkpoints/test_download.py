"""A download ends with the whole file under its name, or with a sentence and what the next one goes on from."""

import fcntl
import json
import os

import pytest

from mimeval.checkpoints.download import download
from mimeval.errors import UserError
from tests.checkpoints.server import no_proxy, serving

__all__ = ["no_proxy"]
pytestmark = pytest.mark.usefixtures("no_proxy")
DATA = os.urandom(1_000_003)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def good(path) -> None:
    assert path.read_bytes() == DATA


def test_a_file_arrives_whole_and_nothing_else(tmp_path):
    seen = []
    with serving(DATA) as server:
        download(f"{server.address}/file.pth", tmp_path / "new" / "x.pth", good, lambda *state: seen.append(state))
    assert names(tmp_path / "new") == ["x.pth"]
    good(tmp_path / "new" / "x.pth")
    assert seen[-1][:2] == (len(DATA), len(DATA)) and all(rate > 0 for _, _, rate in seen)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_what_broke_off_goes_on_where_it_stood(tmp_path):
    target = tmp_path / "x.pth"
    with serving(DATA) as server:
        server.stop_after = 400_000
        with pytest.raises(UserError, match=r"broke off after 400,000 of 1,000,003 bytes .* the same command goes on"):
            download(f"{server.address}/file.pth", target, good)
        assert names(tmp_path) == [".x.pth.part", ".x.pth.part.json"]
        download(f"{server.address}/file.pth", target, good)
        assert server.requests == [None, "bytes=400000-"]
    assert names(tmp_path) == ["x.pth"]


def test_a_server_without_parts_is_asked_for_the_whole(tmp_path):
    with serving(DATA) as server:
        server.parts, server.stop_after = False, 400_000
        with pytest.raises(UserError, match="broke off"):
            download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
        download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
    assert names(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("tag", ['"two"', None])
def test_another_file_under_the_same_address_is_not_mixed_with_the_first(tmp_path, tag):
    with serving(bytes(1_000_100)) as server:
        server.tag, server.stop_after = '"one"' if tag else None, 400_000
        with pytest.raises(UserError, match="broke off"):
            download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
        server.data, server.tag = DATA, tag
        download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
    assert names(tmp_path) == ["x.pth"]


def test_a_part_of_unknown_origin_is_not_gone_on_from(tmp_path):
    (tmp_path / ".x.pth.part").write_bytes(b"of something else")
    with serving(DATA) as server:
        download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
        # Of another address, too.
        (tmp_path / ".y.pth.part").write_bytes(b"of something else")
        (tmp_path / ".y.pth.part.json").write_text(
            json.dumps({"address": "http://else/", "version": '"one"', "total": len(DATA)})
        )
        download(f"{server.address}/file.pth", tmp_path / "y.pth", good)
        assert server.requests == [None, None]
    assert names(tmp_path) == ["x.pth", "y.pth"]


def test_a_part_longer_than_the_file_begins_anew(tmp_path):
    with serving(DATA) as server:
        address = f"{server.address}/file.pth"
        (tmp_path / ".x.pth.part").write_bytes(bytes(2_000_000))
        (tmp_path / ".x.pth.part.json").write_text(json.dumps({"address": address, "version": '"one"', "total": 1}))
        download(address, tmp_path / "x.pth", good)
    assert names(tmp_path) == ["x.pth"]


def test_a_part_that_is_already_whole_is_only_checked(tmp_path):
    with serving(DATA) as server:
        address = f"{server.address}/file.pth"
        (tmp_path / ".x.pth.part").write_bytes(DATA)
        (tmp_path / ".x.pth.part.json").write_text(
            json.dumps({"address": address, "version": '"one"', "total": len(DATA)})
        )
        download(address, tmp_path / "x.pth", good)
        assert server.requests == []


def test_a_file_that_is_another_is_deleted(tmp_path):
    def wrong(path):
        raise UserError(f"{path} is not it: expected another.")

    with serving(DATA) as server, pytest.raises(UserError, match=r"what http://\S+/file.pth gave is not it"):
        download(f"{server.address}/file.pth", tmp_path / "x.pth", wrong)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "path, says",
    [
        ("gone.pth", "the server said 404 Not Found; it is not there any more"),
        ("busy.pth", "the server said 503 Service Unavailable; try again later"),
        ("page.pth", "found an HTML page"),
        ("away.pth", "leads to 'ftp://127.0.0.1/x', which is no http address"),
        ("local.pth", "file:///etc/passwd' is not allowed"),
    ],
)
def test_what_is_no_file_is_a_sentence(tmp_path, path, says):
    with serving(DATA) as server, pytest.raises(UserError, match=says):
        download(f"{server.address}/{path}", tmp_path / "x.pth", good)
    assert not (tmp_path / "x.pth").exists()


def test_a_page_in_place_of_a_file_spoils_no_part(tmp_path):
    with serving(DATA) as server:
        address = f"{server.address}/page.pth"
        (tmp_path / ".x.pth.part").write_bytes(DATA[:1000])
        (tmp_path / ".x.pth.part.json").write_text(
            json.dumps({"address": address, "version": None, "total": len(DATA)})
        )
        with pytest.raises(UserError, match="HTML page"):
            download(address, tmp_path / "x.pth", good)
    assert (tmp_path / ".x.pth.part").stat().st_size == 1000


def test_redirects_within_http_are_followed(tmp_path):
    with serving(DATA) as server:
        download(f"{server.address}/moved.pth", tmp_path / "x.pth", good)
    good(tmp_path / "x.pth")


def test_no_server_is_a_sentence(tmp_path):
    with serving(DATA) as server:
        address = f"{server.address}/file.pth"
    with pytest.raises(UserError, match="cannot be reached: Connection refused"):
        download(address, tmp_path / "x.pth", good)


def test_two_at_a_time_do_not_write_one_file(tmp_path):
    with serving(DATA) as server, (tmp_path / ".x.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="being written by another process"):
            download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
        assert server.requests == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with serving(DATA) as server, pytest.raises(UserError, match="x.pth cannot be written: "):
        download(f"{server.address}/file.pth", tmp_path / "file" / "x.pth", good)


def test_an_interruption_keeps_what_is_there(tmp_path):
    def interrupt(done, total, rate):
        if done > 300_000:
            raise KeyboardInterrupt

    with serving(DATA) as server:
        with pytest.raises(KeyboardInterrupt):
            download(f"{server.address}/file.pth", tmp_path / "x.pth", good, interrupt)
        kept = (tmp_path / ".x.pth.part").stat().st_size
        assert kept > 300_000
        download(f"{server.address}/file.pth", tmp_path / "x.pth", good)
        assert server.requests == [None, f"bytes={kept}-"]
