"""What the sentences about an event share: whom they speak of, and how they name it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from optrace.trace.model import Parameter
from optrace.tui.core.effects import Effects
from optrace.tui.core.numerals import listed
from optrace.tui.core.owners import Owners
from optrace.tui.core.parts import Gradient, Part, Parts
from optrace.tui.core.readings import Readings, Stats
from optrace.tui.core.spans import Line, Span, going

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

FEW = 24
"""Parameters up to which a sentence speaks of all of them; beyond, of the selected one."""
UNKNOWN = "Whether a step had used it before was not recorded."


class Sentences:
    """A part of the story."""

    def __init__(self, trace: Trace, readings: Readings, owners: Owners, effects: Effects, parts: Parts) -> None:
        self._trace = trace
        self._readings = readings
        self._owners = owners
        self._effects = effects
        self._parts = parts

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


def share_of(gradients: list[Gradient], old: Callable[[Part], bool]) -> float | None:
    """The share of the old parts by norm; None where a part's norm is not known (it was sampled) or no number."""
    parts = [part for gradient in gradients for part in gradient.parts]
    sizes = [part.norm for part in parts]
    if any(size is None or not math.isfinite(size) for size in sizes):
        return None
    whole = sum(size for size in sizes if size is not None)
    return sum(part.norm or 0.0 for part in parts if old(part)) / whole if whole else None
