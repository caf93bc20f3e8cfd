"""The *State* tab: the optimizer's memory of a parameter, and how old it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optrace.errors import OptraceError
from optrace.trace.format import Op
from optrace.trace.model import Parameter
from optrace.tui.core.blocks import bar
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import element, index, percent, power, setting, shape, short
from optrace.tui.core.readings import Pending
from optrace.tui.core.spans import Line, Span, acting, left, right, wrap

SHOWN_STEPS = 8


def lines(
    machine: Machine, parameter: Parameter, seq: int, place: tuple[int, ...], room: int, height: int = 100
) -> list[Line]:
    """The tab's lines."""
    group = machine.owners.group(parameter, seq)
    found: list[Line] = []
    if group is None:
        return [[Span("No optimizer holds this parameter, so nothing is kept for it.", "finding-warning")]]
    optimizer, number, settings = group
    hyper = ", ".join(
        f"{name} {' '.join(map(setting, value)) if isinstance(value, (list, tuple)) else setting(value)}"
        for name, value in settings.hyper.items()
        if name in ("lr", "betas", "momentum", "weight_decay", "eps", "alpha", "dampening", "nesterov") and value
    )
    found += wrap([Span(f"{optimizer.name}", "bold"), Span(f", param group {number}: {hyper}", "dim")], room)
    kinds = [kind for kind in machine.kinds(parameter) if kind not in ("param", "grad")]
    if not kinds:
        keeps = "has kept nothing for it" if len(machine.owners.steps(parameter)) else "has not stepped"
        return [*found, [], [Span(f"The optimizer {keeps} in this trace.", "dim")]]
    found += [[], *_entries(machine, parameter, kinds, seq, place)]
    if any(machine.readings.sampled(parameter, kind, seq) for kind in kinds):
        found.append([Span("≈ sampled: statistics and at most some elements were kept.", "finding-hint")])
    found += _corrections(machine, parameter, settings.hyper, seq)
    found += _origins(machine, parameter, seq, room)
    return found


def _entries(machine: Machine, parameter: Parameter, kinds: list[str], seq: int, place: tuple[int, ...]) -> list[Line]:
    names = max(12, *(len(kind) + 2 for kind in kinds))
    summary = machine.effects.of(seq)
    found: list[Line] = [
        [
            Span(
                left("entry", names) + right("shape", 9) + right("norm", 20) + right(f"at {index(place)}", 14),
                "heading",
            )
        ]
    ]
    for kind in kinds:
        change = summary.changes.get((parameter.id, kind))
        last = machine.readings.last(parameter, kind, seq)
        if last is None or last[1].op is Op.LOST:
            found.append([Span(left(kind, names)), Span(right("not yet" if last is None else "not kept", 9), "dim")])
            continue
        scalar = last[1].shape == ()
        now = machine.readings.element(parameter, kind, seq, () if scalar else place)
        name = Span(left(kind, names), "", f"values_of({kind!r})")
        line: Line = [name, Span(right(shape(last[1].shape), 9), "dim")]
        norms = machine.norm(parameter, kind, seq)
        if change is not None and seq:
            before = machine.norm(parameter, kind, seq - 1)
            before = "" if before == norms == "not kept" else f"{before} → "
            line += [Span(right(before, 20 - 8)), Span(right(norms, 8), "changed bold")]
        else:
            line.append(Span(right(norms, 20)))
        text = "" if now is None or scalar else element(now)
        line.append(Span(right(text, 14), "changed" if change is not None else ""))
        found.append(line)
    return found


def _corrections(machine: Machine, parameter: Parameter, hyper: Any, seq: int) -> list[Line]:
    """Adam's bias corrections, as they stand."""
    betas = hyper.get("betas")
    count = machine.readings.element(parameter, "step", seq, ()) if "step" in machine.kinds(parameter) else None
    if (
        not isinstance(betas, (list, tuple))
        or count is None
        or not all(isinstance(beta, (int, float)) for beta in betas)
    ):
        return []
    number = int(count)
    found: list[Line] = [[]]
    for beta, name in zip(betas, ("first", "second"), strict=False):
        factor = 1 - beta**number
        text = f"1 − {power(setting(beta), number)} = {short(factor, 4)}"
        grown = f"{name} moment counts {short(1 / factor, 3)}×" if factor and factor < 0.999 else "no longer matters"
        found.append([Span(left("bias correction", 17), "dim"), Span(left(text, 26)), Span(grown, "dim")])
    return found


def _origins(machine: Machine, parameter: Parameter, seq: int, room: int) -> list[Line]:
    """How much of the momentum older steps still hold."""
    steps = machine.owners.steps(parameter)
    place = int(np.searchsorted(steps, seq, "right")) - 1
    if place < 0:
        return []
    step = int(steps[place])

    def work() -> Any:
        from optrace.arithmetic.explain import momentum_origins

        try:
            return momentum_origins(machine.trace, step, parameter, None, SHOWN_STEPS)
        except OptraceError:
            return None

    made_of = machine.readings.compute(("origins", parameter.id, step), parameter.numel * 4 * SHOWN_STEPS, work)
    if isinstance(made_of, Pending):
        return [[], [Span("computing what the momentum is made of …", "dim")]]
    if made_of is None or not made_of.steps:
        return []
    now = made_of.steps[0]
    if not math.isfinite(now.share):
        return [[], [Span(f"{made_of.state} is no longer finite: what it is made of cannot be told.", "bad")]]
    found: list[Line] = [
        [],
        [
            Span(f"{made_of.state} is made of", "heading"),
            Span(f"   {percent(now.share)} of it is from the newest step, {percent(1 - now.share)} older", "bold"),
        ],
    ]
    wide_bar = max(6, min(24, room - 52))
    for number, past in enumerate(made_of.steps):
        line: Line = [
            Span(left(f"{'step' if number else 'newest'} {past.position}", 16)),
            Span(left(bar(past.share, wide_bar), wide_bar + 1), "fresh" if number == 0 else "used"),
            Span(right(percent(past.share), 6)),
            Span(f"   gradient {short(past.gradient)} × {short(past.weight)}", "dim"),
        ]
        found.append(acting(line, f"go({machine.trace.seq(past.position)})"))
    if made_of.older_share > 0.005:
        found.append(
            [
                Span(left("all before", 16)),
                Span(left(bar(made_of.older_share, wide_bar), wide_bar + 1), "used"),
                Span(right(percent(made_of.older_share), 6)),
            ]
        )
    return found
