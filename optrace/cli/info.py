"""`optrace info`."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from optrace.cli.command import Command, ExitCode, add_trace, open_trace, shared_folder, tell_unreadable
from optrace.cli.extent import unrecorded
from optrace.cli.text import clipped_left, count, printable, shape, short_path, table, wrapped
from optrace.trace.format import KEPT

if TYPE_CHECKING:
    from optrace.trace.model import Optimizer, Parameter, ParamGroup, Phase
    from optrace.trace.reader import Trace


MOST_PHASES = 6
"""Phases of the recording that are listed; of more, the first ones and the last."""


class Info(Command):
    """Print what a trace is.

    The script, versions, devices, optimizers with their param groups, parameters,
    events of each kind, sizes, how long it ran and whether it was recorded to its
    end.
    """

    name = "info"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("--json", action="store_true", help="one object, for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        with open_trace(arguments.trace) as trace:
            tell_unreadable(trace)
            if arguments.json:
                from optrace.cli.asjson import dumps

                print(dumps(info_object(trace) | _processes_object(trace), indent=2))
            else:
                from optrace.cli.timeline import screen_width

                for line in [*_lines(trace, screen_width()), *_process_lines(trace)]:
                    print(line)
        return ExitCode.SUCCESS


def info_object(trace: Trace) -> dict[str, Any]:
    """Everything `optrace info` knows, for programs."""
    meta = trace.meta
    return {
        "trace": str(trace.path),
        "command": meta.get("argv"),
        "folder": meta.get("cwd"),
        "began": meta.get("began"),
        "seconds": _seconds(trace),
        "complete": trace.complete,
        "failure": meta.get("failure"),
        "kept": meta.get(KEPT),
        "notes": meta.get("notes", []),
        "versions": {name: meta.get(name) for name in ("optrace", "torch", "python")},
        "platform": meta.get("platform"),
        "devices": _devices(trace),
        "bytes": trace.size(),
        "events": len(trace.events),
        "iterations": len(trace.iterations),
        "kinds": _kinds(trace),
        "phases": [asdict(phase) for phase in trace.phases],
        "gaps": {"count": len(trace.gap_numbers), "iterations": unrecorded(trace)},
        "optimizers": [
            {
                "name": optimizer.name,
                "class": optimizer.class_name,
                "variable": optimizer.variable,
                "groups": [
                    {"parameters": [trace.parameters.by_id(p).name for p in group.parameters], "hyper": group.hyper}
                    for group in _groups(trace, optimizer)
                ],
            }
            for optimizer in trace.optimizers
        ],
        "parameters": [
            {
                "name": parameter.name,
                "names": list(parameter.names),
                "shape": list(parameter.shape),
                "dtype": parameter.dtype,
                "device": parameter.device,
                "requires_grad": parameter.requires_grad,
                "placement": None if parameter.placement is None else asdict(parameter.placement),
            }
            for parameter in trace.parameters.values()
        ],
    }


def _lines(trace: Trace, width: int) -> list[str]:
    from optrace.cli.eventview import settings
    from optrace.recording.size import format_size

    meta = trace.meta
    kinds = ", ".join(f"{amount:,} {kind}" for kind, amount in _kinds(trace).items())
    seconds = _seconds(trace)
    facts = [
        ["command", _command(meta.get("argv"))],
        ["folder", printable(meta.get("cwd", "?"))],
        ["recorded", f"{_when(meta.get('began'))}, {'?' if seconds is None else f'{seconds:.1f}'} s"],
        ["state", _state(trace)],
        ["versions", ", ".join(f"{name} {printable(meta.get(name, '?'))}" for name in ("optrace", "torch", "python"))],
        ["platform", printable(meta.get("platform", "?"))],
        ["devices", ", ".join(map(printable, _devices(trace)))],
        ["size", format_size(trace.size())],
        ["iterations", f"{len(trace.iterations):,}"],
        ["events", f"{len(trace.events):,}" + (f": {kinds}" if kinds else "")],
        *(["note", printable(note)] for note in meta.get("notes", ())),
    ]
    facts += [["kept" if place == 0 else "", printable(text)] for place, text in enumerate(kept_lines(trace))]
    column = max(len(name) for name, _ in facts) + 2
    lines = [printable(trace.path)]
    for name, text in facts:
        lines += wrapped(name.ljust(column) + text, width, " " * column)
    lines += ["", f"{count(len(trace.optimizers), 'optimizer')}"]
    for optimizer in trace.optimizers:
        variable = f" {printable(optimizer.variable)}" if optimizer.variable else ""
        site = optimizer.site
        made = f", made at {short_path(site.file, meta.get('cwd'))}:{site.line}" if site else ""
        lines.append(f"  {printable(optimizer.name)}{variable}{made}")
        for place, group in enumerate(_groups(trace, optimizer)):
            text = f"    group {place}: {count(len(group.parameters), 'parameter')}, {settings(group.hyper)}"
            lines += wrapped(text, width, " " * 6)
    total = sum(parameter.numel for parameter in trace.parameters.values())
    lines += ["", f"{count(len(trace.parameters), 'parameter')}, {count(total, 'element')}"]
    rows = [
        [
            clipped_left(printable(p.name), 40),
            _shape(p),
            p.dtype,
            p.device,
            "" if p.requires_grad else "frozen",
            printable(p.placement) if p.placement is not None else "",
        ]
        for p in trace.parameters.values()
    ]
    return [*lines, *table(rows, indent="  ")]


def _process_lines(trace: Trace) -> list[str]:
    """The processes that ran together, where there are several."""
    from optrace.recording.size import format_size

    if len(trace.processes) == 1:
        return []
    rows = [
        [
            printable(name),
            f"{len(member.events):,} events",
            f"{len(member.iterations):,} iterations",
            format_size(member.size()),
            _state(member),
        ]
        for name, member in trace.processes.items()
    ]
    title = f"{len(rows)} processes in {printable(shared_folder(trace))}; above is {trace.process}"
    return ["", title, *table(rows, right=(1, 2, 3), indent="  ")]


def _processes_object(trace: Trace) -> dict[str, Any]:
    if len(trace.processes) == 1:
        return {}
    return {"processes": {name: info_object(member) for name, member in trace.processes.items()}}


def _shape(parameter: Parameter) -> str:
    """`[5, 4]`; of a shard, the part that is here and the whole it is of."""
    placement = parameter.placement
    if placement is None or placement.kind != "shard":
        return shape(parameter.shape)
    return f"{shape(parameter.shape)} of {shape(placement.shape)}"


def _kinds(trace: Trace) -> dict[str, int]:
    import numpy as np

    from optrace.trace.format import KINDS

    counts = np.bincount(trace.column("kind"), minlength=len(KINDS)).tolist()
    return {kind: amount for kind, amount in zip(KINDS, counts, strict=False) if amount}


def kept_lines(trace: Trace) -> list[str]:
    """What was kept, phase by phase, where that is not everything."""
    phases = trace.phases
    lines = []
    if len(phases) > 1 or any(phase.capture != "exact" or phase.every > 1 for phase in phases):
        lines += [f"from iteration {p.iteration}: {_phase(p)} ({p.reason})" for p in phases[:MOST_PHASES]]
        if len(phases) > MOST_PHASES:
            lines[-1:] = [f"… {len(phases) - MOST_PHASES} more …", lines[-1]]
            lines[-1] = f"from iteration {phases[-1].iteration}: {_phase(phases[-1])} ({phases[-1].reason})"
    if len(trace.gap_numbers):
        lines.append(f"{count(len(trace.gap_numbers), 'gap')}: {unrecorded(trace):,} iterations not recorded")
    return lines


def _phase(phase: Phase) -> str:
    often = "" if phase.every == 1 else f", one iteration in {phase.every:,}"
    return {"exact": "every value", "sampled": "samples and keyframes", "stats": "statistics"}.get(
        phase.capture, "nothing"
    ) + (often if phase.capture != "nothing" else "")


def _groups(trace: Trace, optimizer: Optimizer) -> tuple[ParamGroup, ...]:
    """The param groups as they were last seen."""
    versions = trace.all_groups(optimizer)
    return trace.groups_by_id(versions[-1]) if versions else ()


def _devices(trace: Trace) -> list[str]:
    """Where the parameters were, and what is known of those devices."""
    return list(dict.fromkeys([*(p.device for p in trace.parameters.values()), *trace.meta.get("devices", [])]))


def _seconds(trace: Trace) -> float | None:
    began, ended = trace.meta.get("began"), trace.meta.get("ended")
    if isinstance(began, (int, float)) and isinstance(ended, (int, float)):
        return float(ended - began)
    return trace.events[-1].time if trace.events else None


def _state(trace: Trace) -> str:
    failure = trace.meta.get("failure")
    if failure:
        return f"incomplete: {printable(failure)}"
    if kept := trace.meta.get(KEPT):
        return f"complete: ended to be kept, for {printable(kept)}"
    if trace.complete:
        return "complete"
    if trace.killed():
        return "incomplete: its process was killed"
    unsure = ", or its process was killed" if trace.running() is None else ""
    return f"incomplete: still being recorded{unsure}"


def _command(argv: Any) -> str:
    return printable(shlex.join(map(str, argv))) if isinstance(argv, list) else "?"


def _when(began: Any) -> str:
    if not isinstance(began, (int, float)):
        return "?"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))
    except (OverflowError, ValueError, OSError):
        return "?"
