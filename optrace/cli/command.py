"""What every subcommand is made of, and what its exit code means."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from optrace.cli.text import printable, tell
from optrace.errors import LookupFailed
from optrace.trace.processes import MAIN

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


def for_each_process(trace: Trace, action: Callable[[Trace], None], headings: bool = True) -> None:
    """Do it with the trace of every process, under its name where there are several.

    Raises `LookupFailed` where none of them has what was asked for.
    """
    if len(trace.processes) == 1:
        action(trace)
        return
    failed: list[LookupFailed] = []
    for place, (name, member) in enumerate(trace.processes.items()):
        if headings:
            print(f"{chr(10) if place else ''}{printable(name)}")
        try:
            action(member)
        except LookupFailed as error:
            failed.append(error)
            if headings:
                print(f"  {printable(error)}")
    if len(failed) == len(trace.processes):
        raise failed[0]


def tell_unreadable(trace: Trace) -> None:
    """Say on stderr which processes left nothing that can be read."""
    for name, why in trace.unreadable.items():
        tell(f"{printable(name)} is left out: {printable(why)}")


def shared_folder(trace: Trace) -> str:
    """The trace's folder; of several processes the one that they share."""
    several = len(trace.processes) > 1 and trace.process != MAIN
    return str(trace.path.parent if several else trace.path)


def sources(trace: Trace) -> dict[str, str]:
    """The texts of the source files of all processes, by path."""
    return {file: text for member in trace.processes.values() for file, text in member.sources.items()}
