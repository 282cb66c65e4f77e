"""docs/checkpoints.md has a row for each family, with what it says of writing, and no family that does not exist."""

from mimeval.checkpoints.formats import FAMILIES
from tests.checkpoints import table as module
from tests.checkpoints.families import FILES
from tests.checkpoints.made_files import MAKERS


def written() -> list[list[str]]:
    """The rows of the document, cell by cell."""
    text = module.DOCUMENT.read_text(encoding="utf-8")
    assert text.count(module.BEGIN) == text.count(module.END) == 1
    lines = text.split(module.BEGIN)[1].split(module.END)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_family_has_its_row():
    columns, _, *rows = written()
    assert tuple(columns) == module.COLUMNS
    assert [row[0] for row in rows] == [f"`{family.name}`" for family in FAMILIES]


def test_directions_are_those_of_the_families_and_nothing_is_unequal():
    for family, row in zip(FAMILIES, written()[2:], strict=True):
        _, direction, source, compared, error, back = row
        assert direction == ("refused" if compared == "refused by name" else module.directions(family))
        assert source and compared and (direction == "refused" or float(error) <= 1e-5)
        assert back in ("", "bit-exact") and bool(back) == bool(family.writable or family.written_as)


def test_every_file_of_the_tests_is_of_a_family_in_the_table():
    known = {row[0].strip("`") for row in written()[2:]}
    assert {family for family, _, _ in FILES.values()} | set(MAKERS.values()) <= known


def test_a_table_lacks_no_family():
    rows = {family.name: module.Row(family.name, "x", ["features"], 1e-7, True) for family in FAMILIES}
    assert module.table(rows).count("1.0e-07") == len(FAMILIES)
    assert module.table({**rows, "mae": module.Row("mae", "x", ["y"], 0.0, False)}).count("NOT EQUAL") == 1
