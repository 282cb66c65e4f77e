"""`mimeval VERB`: finds the verb's file, reads its arguments, says errors in one sentence. Imports nothing heavy."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import re
import sys
import time
from collections.abc import Sequence
from types import ModuleType

import mimeval
from mimeval import signals
from mimeval.errors import UserError
from mimeval.quiet import filter_warnings

ORDER = "train test inspect convert export transfer report tokenize analyze bench data".split()


def verbs() -> dict[str, ModuleType]:
    """Verbs by name: modules of mimeval.cli with NAME, HELP, EXAMPLE, add_arguments(parser) and run(args) -> int."""
    found = {}
    for module in pkgutil.iter_modules(importlib.import_module("mimeval.cli").__path__):
        if module.name != "main":
            loaded = importlib.import_module(f"mimeval.cli.{module.name}")
            if hasattr(loaded, "NAME"):
                found[loaded.NAME] = loaded
    return dict(sorted(found.items(), key=lambda item: (ORDER + [item[0]]).index(item[0])))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One sentence, like every other error."""
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; builds without importing torch."""
    parser = _Parser(
        prog="mimeval",
        description="Measure what a masked-image-modeling checkpoint transfers to; pre-train the methods it measures.",
        epilog="mimeval VERB --help shows a verb's arguments and an example.",
    )
    parser.add_argument("--version", action="version", version=f"mimeval {mimeval.__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for name, module in verbs().items():
        verb = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


def printable(text: str) -> str:
    """Text without what would steer a terminal: names in files come from anybody."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def sentence(error: UserError) -> str:
    """The message alone: torch wraps what a data worker raises in the worker's traceback."""
    text = str(error)
    if text.startswith(("Caught UserError in", "Caught DamagedSample in")):
        text = re.split(r"mimeval\.errors\.(?:UserError|DamagedSample): ", text)[-1]
    return printable(" ".join(text.split()))


def fresh_line() -> str:
    """What takes a line of progress, which has no end yet, off a terminal."""
    return "\r\033[K" if sys.stderr.isatty() else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Exit codes: 0 done, 2 the user can put it right, 130 and 143 stopped by SIGINT and SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = build_parser()
        if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs():
            near = difflib.get_close_matches(arguments[0], verbs(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"verbs: {', '.join(verbs())}"
            raise UserError(f"mimeval has no verb '{arguments[0]}'; {hint}")
        if "" in arguments:
            # A shell variable that is not set: taken as a path it would mean the current folder.
            after = arguments[arguments.index("") - 1]
            raise UserError(f"the argument after {after} is empty; give a value (is a shell variable unset?)")
        args, unknown = parser.parse_known_args(arguments)
        if unknown:
            prog = " ".join(filter(None, ["mimeval", args.verb]))
            raise UserError(f"unrecognized arguments: {' '.join(unknown)}; see {prog} --help")
        if args.verb is None:
            parser.print_help()
            return 0
        filter_warnings()
        # Read when torch is imported. Threads that wait by spinning bring a shared machine down to a tenth of its speed.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        args.command_line = arguments
        with signals.handled():
            return args.run(args)
    except UserError as error:
        if os.environ.get("MIMEVAL_DEBUG"):
            raise
        if os.environ.get("RANK", "0") != "0":
            # torchrun ends all processes with the first one: let it be the one that says it and clears the work dir.
            time.sleep(2)
        print(f"{fresh_line()}mimeval: {sentence(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "mimeval") or os.environ.get("MIMEVAL_DEBUG"):
            raise
        print(
            f"{fresh_line()}mimeval: {sys.executable} has no package {package}: expected those of requirements.txt; install them with "
            "tools/quickstart.sh and use .venv/bin/python, or with pip install",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"{fresh_line()}mimeval: interrupted; train and transfer go on from here with --resume", file=sys.stderr)
        return 130
    except signals.Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            words = stop.words or "nothing was saved since the last checkpoint; train and transfer go on with --resume"
            print(f"{fresh_line()}mimeval: stopped by {stop.name}: {words}", file=sys.stderr)
        return stop.code
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
