"""`optrace show`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from optrace.cli.command import Command, ExitCode, add_trace, for_each_process, open_trace, tell_unreadable
from optrace.cli.text import count, printable
from optrace.errors import LookupFailed, OptraceError

if TYPE_CHECKING:
    from optrace.trace.model import Parameter
    from optrace.trace.reader import Trace


class Show(Command):
    """Print the timeline, one event, or the numbers of one value.

      optrace show T        the timeline, the middle of a long one left out
      optrace show T 3      iteration 3
      optrace show T 3:1    its event 1, and every parameter it touched
      optrace show T 3:1 --param fc1.weight
                            everything of that parameter just after it
      optrace show T 3:1 --param fc1.weight --value exp_avg
                            the numbers, with every digit they have

    A value is `param`, `grad`, or an entry of the optimizer's state. With --json
    the timeline is one object a line, anything else one object; NaN and infinities
    are the strings "NaN", "Infinity" and "-Infinity", and null means there was no
    value. Of several processes that ran together each is shown; T/rank-0 is one.
    """

    name = "show"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("position", metavar="POSITION", nargs="?", help="iteration:event, or an iteration")
        parser.add_argument("--param", metavar="NAME", help="one parameter")
        parser.add_argument("--value", metavar="KIND", help="print the numbers of param, grad, exp_avg, …")
        parser.add_argument("--all", action="store_true", help="print every number of a large value")
        parser.add_argument("--from", dest="first", metavar="POSITION", help="begin the timeline here")
        parser.add_argument("--to", dest="last", metavar="POSITION", help="end the timeline here")
        parser.add_argument("--limit", metavar="N", type=int, help="show at most so many events, 0 for all (40)")
        parser.add_argument("--json", action="store_true", help="for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        with open_trace(arguments.trace) as trace:
            tell_unreadable(trace)
            for_each_process(trace, lambda member: self._show(member, arguments), headings=not arguments.json)
        return ExitCode.SUCCESS

    def _show(self, trace: Trace, arguments: argparse.Namespace) -> None:
        position: str | None = arguments.position
        if arguments.param is not None or arguments.value is not None:
            self._value(trace, arguments)
        elif position is not None and ":" in position:
            self._event(trace, arguments)
        else:
            self._timeline(trace, arguments)

    def _timeline(self, trace: Trace, arguments: argparse.Namespace) -> None:
        from optrace.cli.asjson import dumps, event_object, process_object
        from optrace.cli.timeline import SHOWN, screen_width, timeline

        if not trace.events and arguments.position is None and arguments.first is None and arguments.last is None:
            if not arguments.json:
                print(f"{printable(trace.path)} has no events")
            return
        first, last = _range(trace, arguments)
        limit = arguments.limit
        if limit is not None and limit < 0:
            raise OptraceError(f"--limit {limit}: write how many events to show, or 0 for all")
        if arguments.json:
            stop = last if not limit else min(last, first + limit)
            for event in trace.events[first:stop]:
                print(dumps({**process_object(trace), **event_object(event)}))
            return
        if arguments.position is None:
            print(f"{printable(trace.path)}: {count(len(trace.events), 'event')} in {_iterations(trace)}")
        narrowed = arguments.position is not None or (arguments.first is not None and arguments.last is not None)
        default = 0 if narrowed and last - first <= 1000 else SHOWN
        for line in timeline(trace, first, last, default if limit is None else limit, screen_width()):
            print(line)

    def _event(self, trace: Trace, arguments: argparse.Namespace) -> None:
        from optrace.cli.asjson import dumps, process_object
        from optrace.cli.eventview import event_lines, whole_event_object
        from optrace.cli.timeline import screen_width

        event = trace.event(arguments.position)
        if arguments.json:
            print(dumps({**process_object(trace), **whole_event_object(trace, event)}))
            return
        for line in event_lines(trace, event, screen_width()):
            print(line)

    def _value(self, trace: Trace, arguments: argparse.Namespace) -> None:
        from optrace.cli.asjson import dumps, process_object
        from optrace.cli.timeline import screen_width
        from optrace.cli.valueview import parameter_lines, parameter_object, value_lines, value_object

        parameter = _parameter(trace, arguments.param)
        seq = _last_of(trace, arguments.position)
        if arguments.json:
            found = (
                parameter_object(trace, parameter, seq)
                if arguments.value is None
                else value_object(trace, parameter, arguments.value, seq)
            )
            print(dumps({**process_object(trace), **found}))
            return
        lines = (
            parameter_lines(trace, parameter, seq)
            if arguments.value is None
            else value_lines(trace, parameter, arguments.value, seq, screen_width(), arguments.all)
        )
        for line in lines:
            print(line)


def _range(trace: Trace, arguments: argparse.Namespace) -> tuple[int, int]:
    """Numbers of the first event to show, and of the one after the last."""
    if arguments.position is not None:
        if arguments.first is not None or arguments.last is not None:
            raise OptraceError("a position shows one place; leave out --from and --to, or the position")
        trace.seq(arguments.position)
        return trace.iterations.bounds(int(arguments.position))
    first = 0 if arguments.first is None else trace.seq(arguments.first)
    last = len(trace.events) if arguments.last is None else _last_of(trace, arguments.last) + 1
    if first >= last:
        raise LookupFailed(f"--from {arguments.first} is after --to {arguments.last}")
    return first, last


def _last_of(trace: Trace, position: str | None) -> int:
    """A position's event; of an iteration alone its last one."""
    seq = trace.seq(position)
    if position is not None and ":" not in position:
        return trace.iterations.bounds(int(position))[1] - 1
    return seq


def _parameter(trace: Trace, name: str | None) -> Parameter:
    if name is None:
        if len(trace.parameters) == 1:
            return next(iter(trace.parameters.values()))
        raise LookupFailed(f"--value needs --param; the parameters are {', '.join(list(trace.parameters)[:5])}, …")
    return trace.parameter(name)


def _iterations(trace: Trace) -> str:
    return f"{count(len(trace.iterations), 'iteration')}, {count(len(trace.parameters), 'parameter')}"
