"""`optrace view`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from optrace.cli.command import Command, add_trace, open_trace
from optrace.cli.text import printable
from optrace.errors import OptraceError


class View(Command):
    """Step through a recorded run, forward and backward.

    Opens the screen: timeline, source, parameters, the arithmetic of every step.
    Press ? in it for the keys.
    """

    name = "view"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            open_trace(arguments.trace).close()  # what cannot be read is said first
            shown = f"optrace show {arguments.trace}"
            raise OptraceError(f"optrace view needs a terminal; without one there is: {printable(shown)}")
        from optrace.tui.starting import opened  # here, for `optrace run` loads nothing of the screen

        trace = opened(arguments.trace)  # what cannot be read is said before the screen changes
        return int(import_module("optrace.tui.app").show(trace))
