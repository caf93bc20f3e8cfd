"""What happened at an event, in one or two plain sentences with their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from optrace.trace.model import Event, Parameter
from optrace.tui.core.applied import Applied
from optrace.tui.core.calls import CALLS
from optrace.tui.core.deposited import Deposited
from optrace.tui.core.effects import Effects, Summary
from optrace.tui.core.ending import how_it_ended
from optrace.tui.core.numerals import percent
from optrace.tui.core.owners import Owners
from optrace.tui.core.parts import FOUND, FRESH, Parts
from optrace.tui.core.readings import Readings
from optrace.tui.core.sentences import UNKNOWN
from optrace.tui.core.spans import Line, Span

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

_WHOLE = {None, "exact", "keyframe"}


class Story(Deposited, Applied):
    """The sentences of any event."""

    def __init__(self, trace: Trace, readings: Readings, owners: Owners, effects: Effects, parts: Parts) -> None:
        super().__init__(trace, readings, owners, effects, parts)
        self._telling: dict[str, Callable[[Event, Summary, Parameter | None], list[Line]]] = {
            "zero_grad": self._zero_grad,
            "backward": self._backward,
            "step": self._step,
            "mutation": self._mutation,
            "gap": self._gap,
        }

    def of(self, seq: int, selected: Parameter | None) -> list[Line]:
        """Sentences, one a line; the first says what was done."""
        event = self._trace.events[seq]
        if not self._parts.ready:
            return [[Span(event.kind, "bold"), Span(" … reading the ledger", "dim")]]
        summary = self._effects.of(seq)
        if event.kind in CALLS:
            lines = CALLS[event.kind](event, summary, self._named)
        else:
            lines = self._telling[event.kind](event, summary, selected)
        if event.failed:
            lines.append([Span("The call raised an exception; what it had done by then is shown.", "finding-error")])
        end = how_it_ended(self._trace) if seq == self._trace.count - 1 else []
        return lines + self._kept(event, selected) + end

    def _kept(self, event: Event, selected: Parameter | None) -> list[Line]:
        """That the numbers of the parameter told of come from a sample, or that its values are missing."""
        changes = self._effects.of(event.seq).changes
        pick = self._pick(tuple(number for number, _ in changes), selected)
        kinds = [kind for number, kind in changes if pick is not None and number == pick.id]
        kept = {self._trace.exactness(pick, kind, event.seq) for kind in kinds if pick is not None} - _WHOLE
        if pick is None or not kept:
            return []
        if kept == {"not kept"}:
            words = f"The new values of {pick.name} were not kept: no room was left, or they were not chosen."
        elif kept == {"statistics"}:
            words = f"≈ Only statistics of {pick.name} were kept here."
        else:
            words = f"≈ Only a sample of {pick.name} was kept here; what is marked ≈ comes from it."
        return [[Span(words, "finding-hint")]]

    # What each kind of event did, but for a backward and a step

    def _zero_grad(self, event: Event, summary: Summary, selected: Parameter | None) -> list[Line]:
        head = Span("zero_grad", "event-clear bold")
        cleared = summary.cleared
        if not cleared:
            return [[head, Span(" found nothing to clear: the gradients were empty.")]]
        how = "filled with zeros" if summary.zeroed else "set to None"
        lines: list[Line] = [
            [head, Span(" cleared the gradient of "), Span(self._named(cleared), "bold"), Span(f" ({how}).")]
        ]
        lines.append(self._fate_of_cleared(event.seq, cleared, selected))
        return lines

    def _fate_of_cleared(self, seq: int, cleared: tuple[int, ...], selected: Parameter | None) -> Line:
        subject = self._subject(cleared, selected)
        taken = [part for parameter in subject for part in self._parts.at(parameter, seq).just_cleared]
        if not taken:
            return [Span("There was nothing in it but zeros.")]
        unused = [part for part in taken if part.fate == FRESH]
        if any(part.fate == FOUND for part in taken):
            return [Span(f"It was found there. {UNKNOWN}")]
        if not unused:
            return [
                Span("All of it had been used by a step: "),
                Span("the next backward starts from nothing.", "fresh"),
            ]
        share = "Nothing of it" if len(unused) == len(taken) else f"Part of it ({percent(len(unused) / len(taken))})"
        verb = "had" if len(unused) == len(taken) else "had never"
        return [
            Span(f"{share} {verb} been used by a step: ", "finding-warning"),
            Span("it is lost.", "finding-warning bold"),
        ]

    def _mutation(self, event: Event, summary: Summary, selected: Parameter | None) -> list[Line]:
        lines: list[Line] = []
        head = Span("Changed by hand", "event-clear bold")
        if summary.cleared:
            how = "filled with zeros" if summary.zeroed else "set to None"
            lines.append([head, Span(f": {self._gradients(summary.cleared)} {how}.")])
            lines.append(self._fate_of_cleared(event.seq, summary.cleared, selected))
        if summary.rescaled:
            lines.append([head, Span(f": {self._gradients(summary.rescaled)} changed.")])
        if summary.deposited:
            lines.append([head, Span(f": {self._gradients(summary.deposited)} set.")])
        if summary.moved:
            lines.append([head, Span(f": {self._named(summary.moved)} changed, and no optimizer did it.")])
        return lines or [[head, Span(": something was touched, and nothing is different.")]]

    def _gap(self, event: Event, summary: Summary, selected: Parameter | None) -> list[Line]:
        what, _, why = str(self._trace.gap(event.seq)).partition(": ")
        after = "; the next event has them again" if event.seq < len(self._trace.events) - 1 else ""
        return [
            [Span(f"{what[:1].upper()}{what[1:]}", "finding-hint bold"), Span(f": {why}.")],
            [Span(f"What the values were meanwhile is not known{after}.", "dim")],
        ]
