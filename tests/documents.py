"""Tables of documents that a command writes between two marks."""

from pathlib import Path

from mimeval.files import write_whole


def put_between(document: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the marks, each on a line of its own."""
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    whole = f"{before}{begin}\n{text}\n{end}{after}"
    write_whole(document, lambda path: path.write_text(whole, encoding="utf-8"))
