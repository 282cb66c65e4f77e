import subprocess
import sys

from mimeval.cli.main import main
from mimeval.transfer.results import RESULTS
from tests.transfer.report.folders import record, results


def test_it_prints_the_table_the_notes_and_the_paths(tmp_path, capsys):
    folder = results(tmp_path / "run", [record(value=16.4), record(init="mae", value=41.7, note="other data")])
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "**41.7** (+25.3)" in out and "[1] other data" in out
    assert str(folder / "report.html") in out and (folder / "report.html").is_file()


def test_errors_are_one_sentence_and_exit_2(tmp_path, capsys):
    bad = results(tmp_path / "bad", [record()])
    with (bad / RESULTS).open("a") as stream:
        stream.write("{\n")
    for folder in (tmp_path / "absent", tmp_path, bad):
        assert main(["report", str(folder)]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1 and str(folder) in captured.err and not captured.out
    assert not (bad / "report.html").exists()


def test_a_report_needs_no_torch(tmp_path):
    folder = results(tmp_path / "run", [record()])
    code = "import sys; from mimeval.cli.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "report", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
