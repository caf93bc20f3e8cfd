"""`optrace explain`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from optrace.cli.command import Command, ExitCode, add_trace, for_each_process, open_trace
from optrace.cli.text import printable
from optrace.errors import LookupFailed, OptraceError

if TYPE_CHECKING:
    from optrace.arithmetic import Account, MomentumOrigins
    from optrace.trace.model import Event, Parameter
    from optrace.trace.reader import Trace


class Explain(Command):
    """Print the arithmetic of a step for one element of one parameter.

      optrace explain T 12:3 --param fc1.weight
                            the element that moved most
      optrace explain T 12:3 --param fc1.weight --element 0,3
      optrace explain T 12:3 --param fc1.weight --steps 20
                            and the last 20 steps its momentum is made of

    Terms stand in the order torch computes them, each as torch rounds it, and the
    value that was recorded stands beside the last. A number that is cut ends in …
    """

    name = "explain"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("position", metavar="POSITION", help="a step, as iteration:event")
        parser.add_argument("--param", metavar="NAME", help="the parameter, where there are several")
        parser.add_argument("--element", metavar="I,J,…", help="one index per dimension (the element that moved most)")
        parser.add_argument("--steps", metavar="N", type=int, default=5, help="past steps in the momentum to list (5)")
        parser.add_argument("--json", action="store_true", help="one object, for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.arithmetic import explain
        from optrace.arithmetic.render import render, render_origins
        from optrace.arithmetic.steps import step_event
        from optrace.cli.asjson import dumps, process_object

        if arguments.steps < 0:
            raise OptraceError(f"--steps {arguments.steps}: write how many past steps to list, 0 for none")
        element = _element(arguments.element)

        def one(trace: Trace) -> None:
            event = step_event(trace, arguments.position)
            parameter = _parameter(trace, arguments.param, event)
            found = explain(trace, event, parameter, element)
            origins = _origins(trace, event, parameter, found.element, arguments.steps)
            if arguments.json:
                print(dumps({**process_object(trace), **_object(found, str(event.position), origins)}))
                return
            text = render(found, str(event.position))
            if origins is not None:
                text += "\n\n" + render_origins(origins)
            for line in text.split("\n"):
                print(printable(line))

        with open_trace(arguments.trace) as trace:
            for_each_process(trace, one, headings=not arguments.json)
        return ExitCode.SUCCESS


def _parameter(trace: Trace, name: str | None, event: Event) -> Parameter:
    if name is not None:
        return trace.parameter(name)
    held = [number for group in trace.groups(event) for number in group.parameters]
    if len(held) == 1:
        return trace.parameters.by_id(held[0])
    names = ", ".join(trace.parameters.by_id(number).name for number in held[:5])
    raise LookupFailed(f"name a parameter with --param; the step has {names}{', …' if len(held) > 5 else ''}")


def _element(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(index) for index in text.strip("[]() ").split(",") if index.strip())
    except ValueError:
        raise OptraceError(f"--element {text!r} is not an element; write one index per dimension, like 0,3") from None


def _origins(
    trace: Trace, event: Event, parameter: Parameter, element: tuple[int, ...], steps: int
) -> MomentumOrigins | None:
    """None where the optimizer keeps no momentum, or it cannot be taken apart."""
    from optrace.arithmetic import momentum_origins

    if steps == 0:
        return None
    try:
        return momentum_origins(trace, event, parameter, element, steps)
    except LookupFailed:
        return None


def _object(found: Account, position: str, origins: MomentumOrigins | None) -> dict[str, Any]:
    from dataclasses import asdict

    from optrace.arithmetic.render import verdict

    return {
        "position": position,
        **asdict(found),
        "hyper": dict(found.hyper),
        "difference": found.difference,
        "agrees": found.agrees,
        "verdict": verdict(found),
        "momentum": None
        if origins is None
        else {**asdict(origins), "steps": [{**asdict(past), "position": str(past.position)} for past in origins.steps]},
    }
