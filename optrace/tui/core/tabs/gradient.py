"""The *Gradient* tab: the contributions inside a gradient, what has become of each, and what it should have been."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.model import Parameter
from optrace.tui.core.blocks import bar
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import element, index, short, times
from optrace.tui.core.parts import FOUND, FRESH, STALE, Gradient, Part
from optrace.tui.core.readings import Stats, wide
from optrace.tui.core.spans import Line, Span, acting, going, left, right, width
from optrace.tui.core.table import PATTERN

if TYPE_CHECKING:
    from optrace.ledger.account import Adjustment

LISTED = 40
MOST_CHANGES = 3


def lines(
    machine: Machine, parameter: Parameter, seq: int, place: tuple[int, ...], room: int, height: int = 100
) -> list[Line]:
    """The tab's lines, `room` columns wide."""
    gradient = machine.parts.at(parameter, seq, LISTED)
    found = [_norms(machine, parameter, seq)]
    kept = machine.readings.kept(parameter, "grad", seq)
    if kept is not None:
        found.append([Span(f"{kept}.", "finding-hint")])
    found.append([])
    if gradient.waiting:
        return [*found, [Span("reading the ledger …", "dim")]]
    if gradient.just_cleared:
        found.append([Span("This event took out of it:", "changed")])
        found += _list(gradient.just_cleared, seq, room, cleared=True)
        return found
    if gradient.unknown:
        return found
    if not gradient.present:
        return [*found, [Span("There is no gradient here: it is None.", "dim")], *_owner(machine, parameter)]
    if gradient.zeroed:
        return [*found, [Span("The gradient is filled with zeros: cleared in place.", "dim")]]
    if not gradient.parts:
        return [*found, [Span("It was set by something other than a backward.", "dim")]]
    found += _list(gradient.parts, seq, room)
    found += _changes(gradient)
    found.append([])
    found += _without_the_stale(machine, parameter, seq, gradient)
    found += _element(machine, parameter, seq, place, gradient)
    return found


def _norms(machine: Machine, parameter: Parameter, seq: int) -> Line:
    now = machine.readings.stats(parameter, "grad", seq)
    wrote = (parameter.id, "grad") in machine.effects.of(seq).changes
    line: Line = [Span("norm ", "dim")]
    if wrote:
        line += [Span(machine.norm(parameter, "grad", seq - 1)), Span(" → ", "changed")]
        line.append(Span(machine.norm(parameter, "grad", seq), "changed bold"))
    else:
        line.append(Span(machine.norm(parameter, "grad", seq), "bold"))
    if isinstance(now, Stats):
        line.append(Span(f"   min {short(now.min)}  mean {short(now.mean)}  max {short(now.max)}", "dim"))
        if now.nonfinite:
            line.append(Span(f"   {int(now.nonfinite)} not finite", "bad"))
    return line


def _owner(machine: Machine, parameter: Parameter) -> list[Line]:
    optimizers = machine.owners.optimizers(parameter)
    if optimizers:
        return []
    return [[Span("No optimizer holds this parameter: nothing will ever apply its gradient.", "finding-warning")]]


def _list(parts: tuple[Part, ...], seq: int, room: int, *, cleared: bool = False) -> list[Line]:
    largest = max((part.norm or 0.0 for part in parts if part.norm and math.isfinite(part.norm)), default=0.0)
    labels = [
        f"{part.older} older"
        if part.older
        else f"{'found' if part.found else 'from'} {part.position}"
        if part.found or part.seq != seq
        else "this one"
        for part in parts
    ]
    names = max(11, *map(len, labels)) + 1
    wide_bar = max(6, min(24, room - 40 - names))
    found: list[Line] = []
    stale = 0
    for part, label in zip(parts, labels, strict=True):
        share = (part.norm or 0.0) / largest if largest else 0.0
        glyph = PATTERN[part.fate][stale % len(PATTERN[part.fate])]
        stale += part.fate == STALE
        drawn = bar(share, wide_bar)
        drawn = ("·" if cleared else glyph) * len(drawn)
        line = [
            Span(left(label, names), "bold" if part.seq == seq else ""),
            Span(left(drawn, wide_bar + 1), "cleared" if cleared else part.fate),
            Span(right(short(part.norm), 7) + "  "),
            Span(left(_fate(part, seq, cleared), 19), part.fate),
        ]
        if part.site is not None and not part.older:
            where = f"{PurePath(part.site.file).name}:{part.site.line}"
            line.append(Span(where if width(line) + len(where) <= room else f"line {part.site.line}", "dim"))
        found.append(line if part.older else acting(line, f"go({part.seq})"))
    return found


def _fate(part: Part, seq: int, cleared: bool) -> str:
    if part.fate == FOUND:
        return "use not recorded"
    if part.applied == 0:
        return "never applied" if cleared else "fresh" if part.seq == seq else "not applied yet"
    return f"applied {times(part.applied)}"


def _changes(gradient: Gradient) -> list[Line]:
    """What else has changed the gradient since it was empty."""
    found: list[Line] = []
    for change in gradient.changes[-MOST_CHANGES:]:
        line = [Span(left(f"at {change.position}", 12)), Span(change.word, "changed")]
        if change.factor is not None:
            line.append(Span(f": what was there × {short(change.factor)}"))
        if change.site is not None:
            line.append(Span(f"   line {change.site.line}", "dim"))
        found.append(acting(line, f"go({change.seq})"))
    return found


def _without_the_stale(machine: Machine, parameter: Parameter, seq: int, gradient: Gradient) -> list[Line]:
    """What the gradient would be had it been cleared in time."""
    if not gradient.stale or not gradient.fresh or gradient.changes:
        return []
    try:
        now = machine.readings.array(parameter, "grad", seq)
    except LookupFailed:
        return []
    pieces = [machine.parts.contribution(parameter, part) for part in gradient.parts if part.fate == FRESH]
    if now is None or any(piece is None or piece.shape != now.shape for piece in pieces):
        return []
    clean = np.sum([piece for piece in pieces if piece is not None], axis=0)
    have = wide(now)
    sizes = float(np.linalg.norm(clean.ravel())), float(np.linalg.norm(have.ravel()))
    line: Line = [Span("With the gradient cleared it would be "), Span(short(sizes[0]), "fresh bold")]
    if all(sizes) and math.isfinite(sizes[0] * sizes[1]) and now.size > 1:
        cosine = float(np.vdot(clean.ravel(), have.ravel()).real) / (sizes[0] * sizes[1])
        angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
        line.append(Span(f", and point {angle:.0f}° away." if angle >= 0.5 else ", in the same direction."))
    else:
        line.append(Span("."))
    return [line]


def _element(
    machine: Machine, parameter: Parameter, seq: int, place: tuple[int, ...], gradient: Gradient
) -> list[Line]:
    """The chosen element as a sum: its contributions, and what else changed it, in their order."""
    total = machine.readings.element(parameter, "grad", seq, place)
    if total is None or not all(0 <= p < s for p, s in zip(place, parameter.shape, strict=False)):
        return []
    line: Line = [Span(f"element {index(place)}", "dim", "tab('values')"), Span("  ")]
    terms: list[Part | Adjustment] = [*gradient.parts, *gradient.changes]
    terms.sort(key=lambda term: term.seq)
    shown = [term for term in terms[-5:] if not isinstance(term, Part) or not term.older]
    if len(shown) < len(terms):
        line.append(Span("…", "dim"))
    for number, term in enumerate(shown, len(terms) - len(shown)):
        added = machine.parts.contribution(parameter, term) if isinstance(term, Part) else term.value
        if added is None or added.shape != parameter.shape:
            return []
        value = added[place]
        negative = number > 0 and not np.iscomplexobj(added) and value < 0
        if number:
            line.append(Span(" − " if negative else " + "))
        text = element(-value if negative else value, 4)
        line.append(going(text, term.fate if isinstance(term, Part) else "changed", term.seq))
        if not isinstance(term, Part):
            line.append(Span(f" {term.word}", "dim"))
    return [[], [*line, Span(" = "), Span(element(total), "bold")]]
