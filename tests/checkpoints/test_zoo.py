"""The shipped list names what it knows and from where; any list that is none is a sentence."""

import hashlib
import re

import pytest

from mimeval.checkpoints.formats import FAMILIES
from mimeval.checkpoints.zoo import check_sums, find, read_zoo, zoo_file
from mimeval.errors import UserError


def test_the_shipped_list_is_in_order():
    zoo = read_zoo()
    assert len(zoo) > 20 and zoo_file().name == "zoo.yaml"
    families = {family.name for family in FAMILIES}
    for entry in zoo.values():
        assert entry.family in families, entry.name
        assert re.match(r"[\w-]+/[\w-]+, \S+\.(md|py|yml)$", entry.source), entry.name
        assert entry.address or entry.page
        for figure in entry.figures:
            assert figure["source"] and 0 < figure["value"] < 100
        # The digits of a sha256 are those in the file's name: others would be somebody's own.
        assert entry.sha256 is None or re.search(rf"-{entry.sha256}\.pth$", entry.file), entry.name
    addresses = [entry.address for entry in zoo.values() if entry.address]
    assert len(set(addresses)) == len(addresses) and len({entry.file for entry in zoo.values()}) == len(zoo)


def test_its_configs_expect_files_that_it_has():
    from pathlib import Path

    root = Path(__file__).parents[2]
    text = "\n".join(path.read_text() for path in (root / "configs").rglob("*.py"))
    wanted = set(re.findall(r"checkpoints/((?:mae|vit|swin|simmim)\w+)\.pth", text))
    files = {Path(entry.file).stem for entry in read_zoo().values()} | set(read_zoo())
    # Made from others (docs/protocols.md), offered on a page under another name, or never released.
    made = {name for name in wanted if "p14to16" in name or "simmim" in name or "localmim" in name and "100ep" in name}
    assert wanted - made <= files


GOOD = {"family": "mae", "source": "a/b, README.md", "address": "https://example.org/x.pth"}
LISTS = {
    "no YAML": ("{", "expected YAML"),
    "a list": ("- a\n", "expected entries by name, found a list"),
    "code": ("a: !!python/object/apply:os.system ['true']\n", "expected YAML"),
    "a number": ("a: 3\n", "entry 'a'"),
    "a path": ("../a: {family: mae, source: s, address: 'https://x/y.pth'}\n", "plain name of letters"),
    "a path for its file": ("a: {family: mae, source: s, address: 'https://x/y.pth', file: ../y.pth}\n", "plain name for its file"),
    "a path in its address": ("a: {family: mae, source: s, address: 'https://x/..%2f..%2fy.pth'}\n", "plain name for its file"),
    "no file in its address": ("a: {family: mae, source: s, address: 'https://x/'}\n", "plain name for its file"),
    "hidden": ("a: {family: mae, source: s, address: 'https://x/.bashrc'}\n", "plain name for its file"),
    "another scheme": ("a: {family: mae, source: s, address: 'file:///etc/passwd'}\n", "http or https"),
    "no source": ("a: {family: mae, address: 'https://x/y.pth'}\n", "expected family, source"),
    "an odd key": ("a: {family: mae, source: s, address: 'https://x/y.pth', run: 1}\n", "found run"),
    "both": ("a: {family: mae, source: s, address: 'https://x/y.pth', page: 'https://x/'}\n", "found both or none"),
    "neither": ("a: {family: mae, source: s}\n", "found both or none"),
    "a short sha256": ("a: {family: mae, source: s, address: 'https://x/y.pth', sha256: abcdef0}\n", "the first 8 to 64 hexadecimal"),
    "a sha256 in capitals": ("a: {family: mae, source: s, address: 'https://x/y.pth', sha256: ABCDEF01}\n", "in lower case"),
    "a short md5": ("a: {family: mae, source: s, address: 'https://x/y.pth', md5: abcde}\n", "the first 6 to 32 hexadecimal"),
    "a number for md5": ("a: {family: mae, source: s, address: 'https://x/y.pth', md5: 123456}\n", "quote it"),
    "figures": ("a: {family: mae, source: s, address: 'https://x/y.pth', figures: [1]}\n", "figures with task"),
}  # fmt: skip


@pytest.mark.parametrize("text, says", LISTS.values(), ids=LISTS.keys())
def test_a_wrong_list_is_a_sentence(tmp_path, text, says):
    (tmp_path / "zoo.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_zoo(tmp_path / "zoo.yaml")
    assert says in str(error.value) and "zoo.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_name_that_is_near_is_suggested():
    zoo = read_zoo()
    assert find(zoo, "mae_pretrain_vit_base").family == "mae"
    with pytest.raises(UserError, match="did you mean mae_pretrain_vit_base"):
        find(zoo, "mae_vit_base")


def test_checksums_are_held_against_the_file(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"abc")
    sha, md5 = hashlib.sha256(b"abc").hexdigest(), hashlib.md5(b"abc").hexdigest()

    def entry(**more):
        import yaml

        (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"a": {**GOOD, **more}}))
        return read_zoo(tmp_path / "zoo.yaml")["a"]

    assert check_sums(entry(sha256=sha), tmp_path / "x.pth") == "its sha256 is the one that a/b, README.md states"
    for digits in (8, 63):
        said = f"its sha256 begins with {sha[:digits]}, as a/b, README.md states; sha256 {sha}"
        assert check_sums(entry(sha256=sha[:digits]), tmp_path / "x.pth") == said
    said = f"its md5 begins with {md5[:6]}, as a/b, README.md states; sha256 {sha}"
    assert check_sums(entry(md5=md5[:6]), tmp_path / "x.pth") == said
    both = f"its sha256 begins with {sha[:8]} and its md5 begins with {md5[:6]}, as "
    assert check_sums(entry(sha256=sha[:8], md5=md5[:6]), tmp_path / "x.pth").startswith(both)
    assert check_sums(entry(), tmp_path / "x.pth") == f"no checksum is published for it; sha256 {sha}"
    wrong = (
        ("sha256", "0" * 64, ","),
        ("sha256", "0" * 8, "...,"),
        ("sha256", sha[:7] + "0", "...,"),
        ("md5", "000000", "...,"),
    )
    for kind, digits, end in wrong:
        with pytest.raises(UserError) as error:
            check_sums(entry(**{kind: digits}), tmp_path / "x.pth")
        found = {"sha256": sha, "md5": md5}[kind]
        assert f"x.pth is not a: expected {kind} {digits}{end} found {found};" in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        check_sums(entry(), tmp_path / "gone.pth")
