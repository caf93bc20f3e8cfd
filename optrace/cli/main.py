"""The command `optrace`: finds the subcommand and catches, once, what goes wrong in it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from optrace import __version__
from optrace.cli.check import Check
from optrace.cli.command import Command, ExitCode
from optrace.cli.explain import Explain
from optrace.cli.info import Info
from optrace.cli.keep import Keep
from optrace.cli.learn import Learn
from optrace.cli.ledger import Ledger
from optrace.cli.rules import Rules
from optrace.cli.run import Run
from optrace.cli.show import Show
from optrace.cli.text import printable, tell
from optrace.cli.view import View
from optrace.errors import OptraceError

COMMANDS: tuple[type[Command], ...] = (Run, Keep, View, Learn, Check, Show, Ledger, Explain, Info, Rules)

DESCRIPTION = "A time-travel debugger for the PyTorch training loop."
EPILOGUE = "Record a script with `optrace run train.py`; `optrace COMMAND --help` explains each command."


class Parser(argparse.ArgumentParser):
    """Errors are one line, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        tell(f"{printable(message)}; see {self.prog} --help")
        raise SystemExit(ExitCode.ERROR)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = Parser(prog="optrace", description=DESCRIPTION, epilog=EPILOGUE, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"optrace {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for kind in COMMANDS:
        text = (kind.__doc__ or "").strip()
        subparser = subparsers.add_parser(
            kind.name,
            help=text.split("\n", 1)[0].rstrip("."),
            description=_unindented(text),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command = kind()
        command.prepare_parser(subparser)
        subparser.set_defaults(command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parsed: list[argparse.Namespace] = []
    code = guarded(_parse, argv, parsed)
    if not parsed:
        return code
    arguments = parsed[0]
    command: Command = arguments.command
    if not command.own_errors:
        return command.run(arguments)
    with contextlib.suppress(AttributeError, ValueError):  # a stdout that cannot hold every character
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return guarded(command.run, arguments)


def guarded(action: Any, *arguments: Any) -> int:
    """Run `action`, and say in one line what went wrong, if something did."""
    try:
        code = int(action(*arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever was reading has seen enough. What is still buffered must not fail at exit.
        _drop_stdout()
        return ExitCode.SUCCESS
    except OptraceError as error:
        tell(printable(error))
    except OSError as error:
        tell(printable(f"{error.strerror}: {error.filename}" if error.filename else repr(error)))
    except KeyboardInterrupt:
        _drop_stdout()
        return ExitCode.INTERRUPTED
    return ExitCode.ERROR


def entry() -> NoReturn:
    """The console script."""
    raise SystemExit(main())


def _parse(argv: Sequence[str] | None, parsed: list[argparse.Namespace]) -> int:
    try:
        parsed.append(build_parser().parse_args(argv))
    except SystemExit as ended:  # --help, --version, or arguments that make no sense
        return int(ended.code or 0)
    return ExitCode.SUCCESS


def _drop_stdout() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _unindented(text: str) -> str:
    first, _, rest = text.partition("\n")
    return first + "\n" + "\n".join(line.removeprefix("    ") for line in rest.splitlines())
