"""What a backward did, in words: what it added, to what, and what the sum is made of."""

from __future__ import annotations

from optrace.errors import LookupFailed
from optrace.trace.model import Event, Parameter
from optrace.tui.core.effects import Summary
from optrace.tui.core.numerals import count, percent, short, times
from optrace.tui.core.parts import FOUND, STALE, Gradient, Part
from optrace.tui.core.sentences import UNKNOWN, Sentences, share_of
from optrace.tui.core.spans import Line, Span, going


class Deposited(Sentences):
    """A part of the story."""

    def _backward(self, event: Event, summary: Summary, selected: Parameter | None) -> list[Line]:
        reached = summary.deposited
        if not reached:
            loss = f" (loss {short(event.loss, 4)})" if event.loss is not None else ""
            return [
                [
                    Span("backward", "event-backward bold"),
                    Span(f" reached no parameter{loss}: no gradient has changed."),
                ]
            ]
        line = [
            Span("backward", "event-backward bold"),
            Span(" added a gradient to "),
            Span(self._named(reached), "bold"),
        ]
        line.append(Span(f" (loss {short(event.loss, 4)})." if event.loss is not None else "."))
        subject = self._subject(reached, selected)
        gradients = [self._parts.at(parameter, event.seq) for parameter in subject]
        lines = [line, *self._what_was_there(gradients, self._in(reached, subject))]
        pick = self._pick(reached, selected)
        if pick is not None and (sum_line := self.sum_of(pick, event.seq)):
            lines.append(sum_line)
        if (alive := event.live_graphs) > 1:
            lines.append([Span(f"{alive} loss graphs are alive, with those of earlier losses.", "dim")])
        return lines

    def _what_was_there(self, gradients: list[Gradient], where: str) -> list[Line]:
        stale = [part for gradient in gradients for part in gradient.parts if part.fate == STALE]
        if stale:
            share = share_of(gradients, lambda part: part.fate == STALE)
            much = "some" if share is None else percent(share)
            steps = sorted({step for part in stale for step in part.steps})
            most = max(part.applied for part in stale)
            verb = "the step at" if len(steps) == 1 else "the steps at"
            if most > len(steps):  # only the last few are known by number
                verb, steps = f"{most:,} steps, the last at", steps[-1:]
            return [
                [
                    Span("It was not empty: ", "stale bold"),
                    Span(f"{much} of what is there now{where} is old", "stale bold"),
                    Span(f" and was already applied by {verb} "),
                    *self._places(steps),
                    Span(". Nothing cleared it in between."),
                ]
            ]
        found = [part for gradient in gradients for part in gradient.parts if part.fate == FOUND]
        if found:
            return [[Span(f"It came on top of what was found there at {found[0].position}. {UNKNOWN}")]]
        older = max((gradient.fresh for gradient in gradients), default=0) - 1
        if older > 0:
            return [
                [
                    Span(f"It came on top of {count(older, 'contribution')} that no step has used yet"),
                    Span(": gradients are being accumulated.", "fresh"),
                ]
            ]
        return [[Span("The gradient was empty before: "), Span("all of it is from this backward.", "fresh")]]

    def sum_of(self, parameter: Parameter, seq: int) -> Line:
        """`x.grad: 300 = 200 from 0:0, already applied, + 100 from this backward`."""
        gradient = self._parts.at(parameter, seq)
        if not gradient.parts:
            return []
        single = parameter.numel == 1 or self._uniform(parameter, seq)
        if not single and not gradient.stale:
            before, after = (self._norm(parameter, "grad", place) for place in (seq - 1, seq))
            if after is None:
                return []
            once, about = ("≈" * self._readings.sampled(parameter, "grad", place) for place in (seq - 1, seq))
            grown = [Span(f"{once}{short(before, 4)} → ")] if before is not None and len(gradient.parts) > 1 else []
            text = about + short(after, 4)
            return [Span(f"{parameter.name}: gradient norm ", "dim"), *grown, Span(text, "bold changed")]
        line: Line = [Span(f"{parameter.name}: " if single else f"{parameter.name}: norm ", "dim")]
        values = [self._amount(parameter, part, single) for part in gradient.parts]
        total = self._amount_now(parameter, seq, single)
        if total is None or any(value is None for value in values):
            return []
        if len(values) == 1:
            return [*line, Span(short(total, 4), "bold changed")] if seq == gradient.parts[0].seq else []
        adds_up = single and not gradient.changes
        joint = " = " if adds_up else ", made of "
        line += [Span(short(total, 4), "bold changed"), Span(joint)]
        shown = list(zip(gradient.parts, values, strict=True))
        if len(shown) > 4:
            rest = shown[1:-2]
            line += self._piece(*shown[0], seq, single)
            line.append(Span(f"{' + ' if adds_up else ', '}… {len(rest):,} more …", "dim"))
            shown = shown[-2:]
        for part, value in shown:
            if len(line) > 3:
                told = line[-1].text.endswith("applied") or line[-1].text.endswith("times")
                line.append(Span(f"{',' * told} + " if adds_up else ", "))
            line += self._piece(part, value, seq, adds_up)
        if gradient.changes:
            change = gradient.changes[-1]
            line.append(Span(f", {change.word} at {change.position} in between", "changed"))
        return line

    def _piece(self, part: Part, value: float | None, seq: int, single: bool) -> Line:
        text = short(value, 4)
        if single and value is not None and value < 0:
            text = f"({text})"
        if part.seq == seq and not part.older and not part.found:
            return [Span(text, "fresh bold"), Span(" from this backward", "fresh")]
        if part.older:
            return [Span(text, f"{part.fate} bold"), Span(f" from {part.older} older", part.fate)]
        fate = (
            ", already applied"
            if part.applied == 1
            else f", already applied {times(part.applied)}"
            if part.applied
            else ""
        )
        source = f"found at {part.position}" if part.found else f"from {part.position}"
        return [
            going(text, f"{part.fate} bold", part.seq),
            going(f" {source}{fate}", part.fate, part.seq),
        ]

    def _uniform(self, parameter: Parameter, seq: int) -> bool:
        """Whether all elements of a small gradient are one number, so that the number stands for all."""
        if parameter.numel > 8:
            return False
        try:
            value = self._readings.array(parameter, "grad", seq)
        except LookupFailed:
            return False
        return value is not None and value.size > 0 and bool((value == value.flat[0]).all())

    def _amount(self, parameter: Parameter, part: Part, single: bool) -> float | None:
        if not single:
            return part.norm
        if part.older:
            return None
        added = self._parts.contribution(parameter, part)
        return None if added is None or added.size == 0 else float(added.flat[0].real)

    def _amount_now(self, parameter: Parameter, seq: int, single: bool) -> float | None:
        if not single:
            return self._norm(parameter, "grad", seq)
        try:
            value = self._readings.array(parameter, "grad", seq)
        except LookupFailed:
            return None
        return None if value is None or value.size == 0 else float(value.flat[0].real)
