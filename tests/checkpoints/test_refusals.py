"""Thirty bad files: each is refused in one sentence, which docs/checkpoints.md shows as it is."""

from pathlib import Path

from tests.checkpoints.refusals import FILES, refusals, table

DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def test_every_bad_file_is_one_sentence_that_names_it():
    said = refusals()
    assert said.keys() == FILES.keys() and len(set(said.values())) == len(FILES)
    for what, text in said.items():
        assert FILES[what][0] in text.split()[0] and text.endswith(".") and "\n" not in text
        assert "Error" not in text and "0x" not in text


def test_the_docs_show_what_is_said():
    text = DOCS.read_text(encoding="utf-8")
    shown = text.partition("<!-- refusals -->")[2].partition("<!-- /refusals -->")[0].strip()
    assert shown == table(), "put the output of `python -m tests.checkpoints.refusals` between the markers"
