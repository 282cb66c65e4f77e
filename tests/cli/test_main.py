"""The command line: light, listing what is there, with one sentence for every error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import mimeval
from mimeval.cli import main as cli
from mimeval.errors import UserError
from mimeval.signals import Stopped

ROOT = Path(mimeval.__file__).parents[1]


def verb(run, name="probe"):
    return types.SimpleNamespace(
        NAME=name, HELP="probe things", EXAMPLE="mimeval probe", add_arguments=lambda parser: None, run=run
    )


@pytest.fixture
def probe(monkeypatch):
    """Installs a verb `probe` that does as told."""
    return lambda run: monkeypatch.setattr(cli, "verbs", lambda: {"probe": verb(run)})


def raising(error):
    def run(args):
        raise error

    return run


def test_help_is_quick_and_without_torch():
    code = (
        "import sys, mimeval.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'mmengine', 'numpy', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mimeval", "--help"], check=True, capture_output=True)
    assert time.perf_counter() - start < 5  # far above what it takes, so that a busy machine does not fail the test


def test_every_verb_has_help_with_an_example(capsys):
    assert {"train", "test"} <= cli.verbs().keys()
    for name, module in cli.verbs().items():
        assert module.EXAMPLE.startswith(f"mimeval {name} ")
        with pytest.raises(SystemExit) as stopped:
            cli.main([name, "--help"])
        out = capsys.readouterr().out
        assert stopped.value.code == 0 and module.HELP in " ".join(out.split()) and module.EXAMPLE in out


def test_verbs_come_in_the_order_of_use():
    listed = [name for name in cli.verbs() if name in cli.ORDER]
    assert listed == sorted(listed, key=cli.ORDER.index)


def test_no_verb_prints_the_help(capsys):
    assert cli.main([]) == 0
    assert "train" in capsys.readouterr().out


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"mimeval {mimeval.__version__}\n"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["trian"], "mimeval: mimeval has no verb 'trian'; did you mean train?"),
        (["xyz"], "mimeval: mimeval has no verb 'xyz'; verbs: "),
        (["train"], "the following arguments are required: CONFIG; see mimeval train --help"),
        (["train", "c.py", "--bogus"], "unrecognized arguments: --bogus"),
        (["train", "c.py", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["train", "c.py", "--seed", "-1"], "expected an integer from 0 to 4294967295, found '-1'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(capsys, arguments, says):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.count("\n") == 1


def test_a_user_error_is_one_sentence_and_exits_2(probe, capsys):
    probe(raising(UserError("image a.png: expected\n  an image")))
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "mimeval: image a.png: expected an image\n"


def test_a_user_error_of_a_data_worker_is_told_without_its_traceback(probe, capsys):
    wrapped = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1\nmimeval.errors.UserError: image a.png: expected an image\n'
    )
    probe(raising(UserError(wrapped)))
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "mimeval: image a.png: expected an image\n"


def test_other_ranks_leave_the_word_to_the_first(probe, capsys, monkeypatch):
    waited = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    probe(raising(UserError("wrong")))
    monkeypatch.setenv("RANK", "0")
    assert cli.main(["probe"]) == 2 and waited == []
    monkeypatch.setenv("RANK", "3")
    assert cli.main(["probe"]) == 2 and waited == [2]
    assert capsys.readouterr().err == "mimeval: wrong\n" * 2


def test_an_interrupt_is_said_and_exits_130(probe, capsys):
    probe(raising(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_has_its_exit_code_and_is_told_by_the_first_process(probe, capsys, monkeypatch, signum, code):
    def told(args):
        raise Stopped(signum, "iteration 7 is saved in x.pth")

    probe(told)
    assert cli.main(["probe"]) == code
    assert capsys.readouterr().err == f"mimeval: stopped by {signum.name}: iteration 7 is saved in x.pth\n"
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["probe"]) == code and capsys.readouterr().err == ""


def test_sigterm_ends_any_verb_with_a_sentence(probe, capsys):
    def wait(args):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    probe(wait)
    assert cli.main(["probe"]) == 143
    assert capsys.readouterr().err.startswith("mimeval: stopped by SIGTERM: nothing was saved since")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_keeps_its_traceback(probe, monkeypatch):
    probe(raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])
    monkeypatch.setenv("MIMEVAL_DEBUG", "1")
    probe(raising(UserError("asked for")))
    with pytest.raises(UserError):
        cli.main(["probe"])


def test_the_exit_code_of_a_verb_is_passed_on(probe):
    probe(lambda args: 7)
    assert cli.main(["probe"]) == 7


def test_a_python_without_the_packages_is_one_sentence(tmp_path):
    # -S: the standard library alone, as where somebody forgot the virtual environment.
    command = [sys.executable, "-S", str(ROOT / "tools" / "convert_checkpoint.py"), "x.pth", "y.pth"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has no package " in done.stderr and "requirements.txt" in done.stderr


def test_the_script_that_people_look_for_is_the_verb(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "convert_checkpoint.py"), "gone.pth", "y.pth"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "mimeval: gone.pth does not exist; give the path of a checkpoint file.\n",
    )
