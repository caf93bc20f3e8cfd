"""What every subcommand is made of, and what its exit code means."""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


class ExitCode(IntEnum):
    """How a command ended. `optrace run` ends as the script did instead."""

    SUCCESS = 0
    """It did what was asked; for `check`: no findings that count."""

    FINDINGS = 1
    """`check` found something at or above --fail-on."""

    ERROR = 2
    """It could not do what was asked; one line on stderr says why."""

    INTERRUPTED = 130
    """Ctrl-C."""


class Command:
    """One subcommand. Its docstring is its help: the first line in the list, all of it in its own --help."""

    name: str
    own_errors = True
    """Whether what `run` raises is the command's. Of `optrace run` it is the script's."""

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it. Raises `OptraceError` with one line of explanation where it cannot."""
        raise NotImplementedError


def add_trace(parser: argparse.ArgumentParser) -> None:
    """The argument that names a trace."""
    parser.add_argument("trace", metavar="TRACE", help="a recorded run, as in train.optrace")


def open_trace(path: str) -> Trace:
    """Open a trace named on the command line. Raises `TraceError`."""
    from optrace.trace.reader import load

    return load(path)
