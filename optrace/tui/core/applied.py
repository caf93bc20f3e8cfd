"""What a step did, in words: what moved, and whether the gradients that it used were fresh."""

from __future__ import annotations

import math

from optrace.errors import LookupFailed
from optrace.trace.model import Event, Parameter
from optrace.tui.core.effects import Summary
from optrace.tui.core.numerals import element, percent, setting, short
from optrace.tui.core.sentences import UNKNOWN, Sentences, share_of
from optrace.tui.core.spans import Line, Span


class Applied(Sentences):
    """A part of the story."""

    def _step(self, event: Event, summary: Summary, selected: Parameter | None) -> list[Line]:
        name = event.optimizer.class_name if event.optimizer else "the optimizer"
        head = Span(f"{name}.step", "event-step bold")
        if event.skipped:
            return [[head, Span(" was left out by the GradScaler: a gradient was not finite. Nothing moved.")]]
        rate = self._owners.rate(event.seq)
        lr = f" (lr {setting(rate)})" if rate is not None else ""
        if not summary.moved:
            return [[head, Span(f" moved no parameter{lr}.", "finding-warning")], *self._used(event, selected)]
        lines: list[Line] = [[head, Span(" moved "), Span(self._named(summary.moved), "bold"), Span(f"{lr}.")]]
        lines += self._used(event, selected)
        pick = self._pick(summary.moved, selected)
        if pick is not None:
            lines += self._moved(pick, event.seq)
        return lines

    def _used(self, event: Event, selected: Parameter | None) -> list[Line]:
        """Whether the gradients that a step used were fresh."""
        held = tuple(sorted(self._owners.held(event.optimizer))) if event.optimizer else ()
        subject = self._subject(held, selected)
        gradients = [self._parts.at(parameter, event.seq) for parameter in subject]
        full = [gradient for gradient in gradients if gradient.present and not gradient.zeroed]
        if not full:
            return [[Span("None of its parameters had a gradient: there was nothing to apply.", "finding-warning")]]
        again = [part for gradient in full for part in gradient.parts if part.applied > 1]
        new = [part for gradient in full for part in gradient.parts if part.applied == 1]
        found = [part for part in new if part.found]
        if not again and found:
            return [[Span(f"It used what was found there at {found[0].position}. {UNKNOWN}")]]
        if not again:
            most = max(len(gradient.parts) for gradient in full)
            what = "the fresh gradient" if most == 1 else f"{most} accumulated contributions"
            return [[Span(f"It used {what}, "), Span("for the first time.", "fresh")]]
        if not new:
            return [
                [
                    Span("It applied the same gradient again: ", "stale bold"),
                    Span("no backward came since the last step."),
                ]
            ]
        share = share_of(full, lambda part: part.applied > 1)
        much = "Some" if share is None else percent(share)
        most_often = max(part.applied for part in again)
        return [
            [
                Span(f"{much} of the gradient it used{self._in(held, subject)} was old", "stale bold"),
                Span(f": applied before, now for the {_ordinal(most_often)} time."),
            ]
        ]

    def _moved(self, parameter: Parameter, seq: int) -> list[Line]:
        about, before, after = "", None, None
        try:
            before = self._readings.before(parameter, "param", seq)
            after = self._readings.array(parameter, "param", seq)
        except LookupFailed:
            about = "≈"
        if not about and (before is None or after is None or before.shape != after.shape or after.size == 0):
            return []
        if (
            before is not None
            and after is not None
            and parameter.numel <= 8
            and bool((before == before.flat[0]).all() and (after == after.flat[0]).all())
        ):
            old, new = before.flat[0], after.flat[0]
            moved = float(new.real) - float(old.real)
            sign = "+" if moved >= 0 else "−"
            return [
                [
                    Span(f"{parameter.name}: ", "dim"),
                    Span(element(old, 7)),
                    Span(" → "),
                    Span(element(new, 7), "bold changed"),
                    Span(f"  ({sign}{short(abs(moved), 4)})"),
                ]
            ]
        ratio = self._readings.ratio(parameter, seq)
        if isinstance(ratio, float) and not math.isfinite(ratio):
            return [[Span(f"{parameter.name} ", "dim"), Span("is no longer finite.", "bad")]]
        if isinstance(ratio, float):
            return [[Span(f"{parameter.name}: ", "dim"), Span(f"moved by {about}{short(ratio)} of its own norm.")]]
        return []


def _ordinal(number: int) -> str:
    if number in (2, 3):
        return {2: "second", 3: "third"}[number]
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
