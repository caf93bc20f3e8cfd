"""The timeline: the run as a strip with its loss and findings, and the events around the cursor in lanes."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import KINDS, Flag
from optrace.tui.core.blocks import strip
from optrace.tui.core.effects import Effects
from optrace.tui.core.findings import GLYPHS, Findings
from optrace.tui.core.kinds import SHOWN
from optrace.tui.core.numerals import setting, short
from optrace.tui.core.owners import Owners
from optrace.tui.core.spans import Line, Span, left, right

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
LABEL = 6
"""Columns of the labels on the left."""
TAIL = 24
"""Columns of the readings on the right."""


class Timeline:
    """The lines of the timeline, and what a column of each stands for."""

    def __init__(self, trace: Trace, owners: Owners, effects: Effects) -> None:
        self._trace = trace
        self._owners = owners
        self._effects = effects
        self._loss = lru_cache(8)(self._loss_strip)

    # The strip of the whole run

    def strip_width(self, room: int) -> int:
        return max(8, room - LABEL - (TAIL if room >= 70 else 12))

    def column_of(self, seq: int, columns: int) -> int:
        count = len(self._trace.events)
        return min(columns - 1, seq * columns // max(1, count))

    def seq_at(self, column: int, columns: int) -> int:
        """The first event of a column of the strip."""
        count = len(self._trace.events)
        column = max(0, min(columns - 1, column))
        return max(0, min(count - 1, -(-column * count // columns)))

    def pointed(self, column: int, columns: int, findings: Findings, mark: int | None) -> int:
        """The event that a click on a column of the strip goes to: what is marked there, the first otherwise."""
        if mark is not None and self.column_of(mark, columns) == column:
            return mark
        found = findings.in_column(column, columns, len(self._trace.events))
        if found is not None:
            return found
        gaps = [number for number in self._trace.gap_numbers.tolist() if self.column_of(number, columns) == column]
        return gaps[0] if gaps else self.seq_at(column, columns)

    def loss_lines(self, seq: int, room: int, height: int) -> list[Line]:
        columns = self.strip_width(room)
        rows = self._loss(len(self._trace.events), columns, height)
        here = self.column_of(seq, columns)
        loss, rate = self.loss_at(seq), self._owners.rate(seq)
        tail = room - LABEL - columns
        lines: list[Line] = []
        for number, row in enumerate(rows):
            label = Span(left(" loss" if number == 0 else "", LABEL), "dim")
            line = [
                label,
                Span(row[:here], "loss"),
                Span(row[here : here + 1] or " ", "loss cursor-column"),
                Span(row[here + 1 :], "loss"),
            ]
            if number == 0:
                line.append(Span(right(short(loss, 4) if loss is not None else "", 9), "bold"))
                if tail > 14 and rate is not None:
                    line.append(Span(right(f"lr {setting(rate)} ", tail - 9), "dim"))
            lines.append(line)
        return lines

    def overview(self, seq: int, room: int, findings: Findings, mark: int | None) -> Line:
        columns = self.strip_width(room)
        here = self.column_of(seq, columns)
        glyphs = ["─"] * columns
        roles = ["dim"] * columns
        glyphs[0], glyphs[-1] = "├", "┤"
        first, last = self.window(seq, room)
        for column in range(self.column_of(first, columns), self.column_of(last, columns) + 1):
            glyphs[column], roles[column] = "━", "window"
        for column, glyph in self._kept(columns):
            glyphs[column], roles[column] = glyph, "finding-hint"
        shown = findings.columns(columns, len(self._trace.events))
        for column, (glyph, role) in shown.items():
            if glyph != "╌" or glyphs[column] == "─":
                glyphs[column], roles[column] = glyph, role
        if mark is not None:
            column = self.column_of(mark, columns)
            glyphs[column], roles[column] = "◆", "mark"
        if glyphs[here] in (*GLYPHS.values(), "◆"):
            roles[here] += " cursor"
        else:
            glyphs[here], roles[here] = "┃", "cursor-line"
        line: Line = [Span(left(" run", LABEL), "dim")]
        for glyph, role in zip(glyphs, roles, strict=True):
            if len(line) > 1 and line[-1].role == role:
                line[-1] = Span(line[-1].text + glyph, role)
            else:
                line.append(Span(glyph, role))
        tail = room - LABEL - columns
        event = self._trace.events
        text = f"  {self._position(seq)}"
        if tail > 14:
            text += f" of {self._position(len(event) - 1)}"
        line.append(Span(left(text, tail), "bold" if tail <= 14 else "", "go_to"))
        return line

    def _kept(self, columns: int) -> list[tuple[int, str]]:
        """Columns where something was not recorded, and where less was kept from there on."""
        count = max(1, len(self._trace.events))
        gaps = {min(column, columns - 1) for column in (self._trace.gap_numbers * columns // count).tolist()}
        found = [(column, SHOWN["gap"].letter) for column in sorted(gaps)]
        return found + [(self.column_of(phase.event, columns), "╎") for phase in self._trace.phases[1:]]

    def _position(self, seq: int) -> str:
        return f"{int(self._trace.column('iteration')[seq])}:{int(self._trace.column('index')[seq])}"

    def loss_at(self, seq: int) -> float | None:
        """The loss of the last event up to `seq` that had one."""
        start = max(0, seq - 4096)
        flags = self._trace.column("flags")[start : seq + 1]
        places = np.flatnonzero(flags & Flag.LOSS)
        return float(self._trace.column("loss")[start + int(places[-1])]) if len(places) else None

    def _loss_strip(self, count: int, columns: int, height: int) -> list[str]:
        """Of each column the mean loss; columns without one take over the last before."""
        events = np.flatnonzero((self._trace.column("flags") & Flag.LOSS) != 0)
        if not len(events):
            return [" " * columns] * height
        losses = self._trace.column("loss")[events]
        # By the first event of each column: dividing a million event numbers would take longer than all the rest.
        borders = np.append(np.searchsorted(events, -(-np.arange(columns) * count // columns)), len(events))
        sizes = np.diff(borders)
        filled = np.flatnonzero(sizes)
        with np.errstate(over="ignore", invalid="ignore"):
            means = np.add.reduceat(losses, borders[filled]) / sizes[filled]
        held = np.cumsum(sizes > 0) - 1
        return strip(np.where(held >= 0, means[held], np.nan), height)

    # The lanes around the cursor

    def window(self, seq: int, room: int) -> tuple[int, int]:
        """The first and last event that the lanes show, the cursor in the middle where there are enough."""
        fit = max(1, (room - LABEL - 2) // 2)
        count = len(self._trace.events)
        first = max(0, min(seq - fit // 2, count - fit))
        return first, min(count, first + fit) - 1

    def event_at(self, column: int, seq: int, room: int) -> int | None:
        """The event under a column of the lanes."""
        first, last = self.window(seq, room)
        place = (column - LABEL - 1) // 2
        return first + place if column > LABEL and 0 <= place <= last - first else None

    def lane_names(self) -> list[str]:
        return [optimizer.variable or optimizer.name for optimizer in self._trace.optimizers] or ["events"]

    def lanes(self, seq: int, room: int, height: int, findings: Findings) -> list[Line]:
        """One line for each optimizer; where there are more than lines, those near the cursor's own."""
        optimizers = self._trace.optimizers
        names = [optimizer.name for optimizer in optimizers] or ["events"]
        first, last = self.window(seq, room)
        kinds = self._trace.column("kind")
        iterations = self._trace.column("iteration")
        touched = [self._touched(number) for number in range(first, last + 1)]
        shown = list(range(len(names)))
        if len(names) > height:
            own = min(self._touched(seq), default=0)
            start = max(0, min(own - height // 2, len(names) - height))
            shown = shown[start : start + height]
        marked = findings.marked(first, last)
        lines: list[Line] = []
        for lane in shown:
            active = lane in self._touched(seq)
            line = [Span(left(f" {names[lane]}", LABEL), "bold" if active and len(shown) > 1 else "dim")]
            previous = int(iterations[first - 1]) if first else -1
            for number in range(first, last + 1):
                iteration = int(iterations[number])
                border = iteration != previous
                previous = iteration
                here = number == seq
                line.append(Span("▐" if here else "│" if border else " ", "cursor-line" if here else "dim"))
                if lane in touched[number - first]:
                    kind = SHOWN[KINDS[int(kinds[number])]]
                    role = "finding-mark " + kind.role if number in marked else kind.role
                    line.append(Span(kind.letter, role + (" cursor" if here else "")))
                else:
                    line.append(Span("·" if not here else " ", "dim" + (" cursor" if here else "")))
            lines.append(line)
        return lines

    def _touched(self, seq: int) -> frozenset[int]:
        """The lanes an event belongs to: its own optimizer's, or those whose parameters it touched."""
        optimizer = int(self._trace.column("optimizer")[seq])
        if optimizer >= 0:
            return frozenset({self._lane(optimizer)})
        if len(self._trace.optimizers) < 2:
            return frozenset({0})
        return self._touched_by(int(self._trace.column("effect")[seq]), seq)

    def _touched_by(self, effect: int, seq: int) -> frozenset[int]:
        summary = self._effects.of(seq)
        parameters = [*summary.deposited[:64], *summary.cleared[:64], *summary.rescaled[:64], *summary.moved[:64]]
        found = {self._lane(number) for parameter in parameters for number in self._owners.of(parameter)}
        return frozenset(found) or frozenset({0})

    def _lane(self, optimizer: int) -> int:
        """The lane of an optimizer, by its number; they stand in the order of their numbers."""
        return bisect_left(self._trace.optimizers, optimizer, key=lambda known: known.id)
