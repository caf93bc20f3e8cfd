"""`optrace keep`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from optrace.cli.command import Command, ExitCode, add_trace, open_trace
from optrace.cli.text import printable, tell
from optrace.errors import OptraceError

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

PATIENCE = 10.0
"""Seconds to wait for the recording to end."""


class Keep(Command):
    """End a running recording of the last iterations and keep what it holds.

    For a script that runs under `optrace run --last N` in another terminal: what
    it holds now is kept, the training goes on unrecorded. Of processes that train
    together all keep what they hold.
    """

    name = "keep"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("reason", nargs="?", default="", help="why, for the trace to say")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.trace.format import RING
        from optrace.trace.keeping import ask, place_to_ask

        with open_trace(arguments.trace) as trace:
            members = list(trace.processes.values())
            running = [member for member in members if member.running() is not False]
            if not running:
                raise OptraceError(f"{arguments.trace} has ended: all it holds is kept")
            if not any(RING in member.meta for member in running):
                raise OptraceError(f"{arguments.trace} keeps every iteration; only one of --last N can be told to keep")
            why = "optrace keep" + (f": {arguments.reason}" if arguments.reason else "")
            ask(place_to_ask(Path(arguments.trace)), why)
            until = time.monotonic() + PATIENCE
            while running and time.monotonic() < until:
                time.sleep(0.05)
                for member in running:
                    member.refresh()
                running = [member for member in running if member.running() is not False]
            if running:
                tell(f"asked {printable(arguments.trace)} to keep what it holds; it has not answered yet")
            for member in members:
                member.refresh()
                if member.complete and member.events:
                    first, last = kept_range(member)
                    print(f"kept iterations {first:,}-{last:,} in {printable(member.path)}")
        return ExitCode.SUCCESS


def kept_range(trace: Trace) -> tuple[int, int]:
    """The first and the last iteration that a trace of the last ones holds something of."""
    gaps = trace.gaps
    first = gaps[0].last + 1 if gaps and gaps[0].seq == 0 else 0
    return first, max(first, len(trace.iterations) - 1)
