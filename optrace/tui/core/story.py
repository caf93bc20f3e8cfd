"""What happened at an event, in one or two plain sentences with their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from optrace.errors import LookupFailed
from optrace.trace.model import Event, Parameter
from optrace.tui.core.calls import CALLS
from optrace.tui.core.effects import Effects, Summary
from optrace.tui.core.ending import how_it_ended
from optrace.tui.core.numerals import count, element, listed, percent, setting, short, times
from optrace.tui.core.owners import Owners
from optrace.tui.core.parts import FOUND, FRESH, STALE, Gradient, Part, Parts
from optrace.tui.core.readings import Readings, Stats
from optrace.tui.core.spans import Line, Span, going

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

FEW = 24
"""Parameters up to which a sentence speaks of all of them; beyond, of the selected one."""


UNKNOWN = "Whether a step had used it before was not recorded."
_WHOLE = {None, "exact", "keyframe"}


class Story:
    """The sentences of any event."""

    def __init__(self, trace: Trace, readings: Readings, owners: Owners, effects: Effects, parts: Parts) -> None:
        self._trace = trace
        self._readings = readings
        self._owners = owners
        self._effects = effects
        self._parts = parts
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

    # Helpers

    def _named(self, numbers: tuple[int, ...]) -> str:
        total = len(self._trace.parameters)
        if len(numbers) == 1:
            return self._trace.parameters.by_id(numbers[0]).name
        if len(numbers) == total:
            return f"all {total} parameters"
        return f"{len(numbers)} of {total} parameters"

    def _gradients(self, numbers: tuple[int, ...]) -> str:
        """`the gradient of x was`, `the gradients of all 4 parameters were`."""
        many = len(numbers) > 1
        return f"the gradient{'s' * many} of {self._named(numbers)} {'were' if many else 'was'}"

    def _subject(self, numbers: tuple[int, ...], selected: Parameter | None) -> list[Parameter]:
        """The parameters a sentence's numbers are about."""
        if len(numbers) <= FEW:
            return [self._trace.parameters.by_id(number) for number in numbers]
        if selected is not None and selected.id in numbers:
            return [selected]
        return [self._trace.parameters.by_id(numbers[0])]

    def _in(self, numbers: tuple[int, ...], subject: list[Parameter]) -> str:
        return f" in {subject[0].name}" if len(numbers) > FEW else ""

    def _pick(self, numbers: tuple[int, ...], selected: Parameter | None) -> Parameter | None:
        """The parameter whose own numbers are told: the selected one where the event touched it."""
        if selected is not None and selected.id in numbers:
            return selected
        return self._trace.parameters.by_id(numbers[0]) if numbers else None

    def _norm(self, parameter: Parameter, kind: str, seq: int) -> float | None:
        stats = self._readings.stats(parameter, kind, seq)
        return stats.norm if isinstance(stats, Stats) else None

    # What each kind of event did

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
            share = _share(gradients, lambda part: part.fate == STALE)
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
                line.append(Span(" + " if adds_up else ", "))
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
        share = _share(full, lambda part: part.applied > 1)
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

    def _places(self, numbers: list[int]) -> Line:
        """`0:1, 1:1 and 2:1`, each to go to."""
        rest = listed([self._position(number) for number in numbers])
        line: Line = []
        for number in numbers if len(numbers) <= 3 else [*numbers[:2], numbers[-1]]:
            before, place, rest = rest.partition(self._position(number))
            line += [Span(before), going(place, "", number)]
        return line

    def _position(self, seq: int) -> str:
        return f"{int(self._trace.column('iteration')[seq])}:{int(self._trace.column('index')[seq])}"


def _share(gradients: list[Gradient], old: Callable[[Part], bool]) -> float | None:
    """The share of the old parts by norm; None where a part's norm is not known (it was sampled) or no number."""
    parts = [part for gradient in gradients for part in gradient.parts]
    sizes = [part.norm for part in parts]
    if any(size is None or not math.isfinite(size) for size in sizes):
        return None
    whole = sum(size for size in sizes if size is not None)
    return sum(part.norm or 0.0 for part in parts if old(part)) / whole if whole else None


def _ordinal(number: int) -> str:
    if number in (2, 3):
        return {2: "second", 3: "third"}[number]
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
