"""`optrace ledger`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from optrace.cli.command import Command, ExitCode, add_trace, for_each_process, open_trace
from optrace.cli.text import count, number, printable, short_path, table, wrapped
from optrace.errors import LookupFailed

if TYPE_CHECKING:
    from optrace.ledger.account import Account, Contribution
    from optrace.trace.reader import Trace

NAMED = 20
"""Contributions that are listed one by one, the newest."""


class Ledger(Command):
    """Print what a parameter's gradient is made of.

    For every parameter, or one, just after the event at POSITION (by default at
    the end): which backward put how much into its gradient, and what was applied
    already. A number is the contribution where all its elements are alike, or of
    --element; between bars it is a norm. With --param, every contribution and its
    fate is listed.
    """

    name = "ledger"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("position", metavar="POSITION", nargs="?", help="iteration:event, as in 3:1")
        parser.add_argument("--param", metavar="NAME", help="one parameter, with every contribution's fate")
        parser.add_argument("--element", metavar="I,J", help="the numbers of one element, as in 0,3")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.cli.timeline import screen_width

        element = parse_element(arguments.element)
        width = screen_width()

        def one(trace: Trace) -> None:
            seq = trace.seq(arguments.position)
            chosen = trace.parameters.values() if arguments.param is None else [trace.parameter(arguments.param)]
            if element is not None and arguments.param is None and len(trace.parameters) != 1:
                raise LookupFailed("--element needs --param: an element of which parameter?")
            event = trace.events[seq]
            lines = [f"just after {event.position} {event.kind}"]
            for parameter in chosen:
                account = trace.ledger(parameter, seq, element)
                text = printable(account.render())
                name = f"{printable(parameter.name)}: "
                line = text if text.startswith(name) else name + text
                lines += wrapped(line, width, "  ")
                if arguments.param is not None:
                    lines += _fates(trace, account)
            print("\n".join(lines))

        with open_trace(arguments.trace) as trace:
            for_each_process(trace, one)
        return ExitCode.SUCCESS


def parse_element(text: str | None) -> tuple[int, ...] | None:
    """`0,3` as (0, 3). Raises `LookupFailed`."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.strip(" []()").split(",") if part.strip())
    except ValueError:
        raise LookupFailed(f"{text!r} is not an element; write its indices like 0,3") from None


def _fates(trace: Trace, account: Account) -> list[str]:
    lines: list[str] = []
    for title, found in (("inside", account.inside), ("past", account.past)):
        if not found:
            continue
        lines += ["", f"{title}: {count(len(found), 'contribution')}"]
        if len(found) > NAMED:
            lines[-1] += f", the newest {NAMED}"
        rows = [["at", "norm", "from", "fate"]]
        newest = list(found[max(0, len(found) - NAMED) :])
        rows += [_row(trace, contribution) for contribution in newest]
        lines += table(rows, right=(0, 1), indent="  ")
    return lines


def _row(trace: Trace, contribution: Contribution) -> list[str]:
    site = contribution.site
    place = "" if site is None else f"{short_path(site.file, trace.meta.get('cwd'))}:{site.line}"
    fate = "never applied" if not contribution.applied else f"applied {count(contribution.applied, 'time')}"
    if contribution.fate == "unrecorded":
        fate = ("" if not contribution.applied else f"{fate}, then ") + f"not recorded from {contribution.removed_at}"
    elif contribution.removed_at is not None:
        fate += f", {contribution.fate} at {contribution.removed_at}"
    size = contribution.size
    return [str(contribution.position), "?" if size is None else number(size), place, fate]
