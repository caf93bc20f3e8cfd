"""The sheet of a rule that needs the whole parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.account import StepInput, Term, Unaccountable
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.text import number

Array = np.ndarray[Any, Any]


class Stages:
    """Lines of stages. Each shows the chosen element's number, and may note something of the whole.

    Arrays are float64 and hold the parameter's dtype exactly.
    """

    def __init__(self, step: StepInput, element: tuple[int, ...]) -> None:
        if np.iscomplexobj(step.before):
            raise Unaccountable("it takes no complex parameters")
        if not isinstance(step.grad, np.ndarray):
            raise Unaccountable("its gradient is sparse")
        self.n = Floating(step.dtype)
        self.terms: list[Term] = []
        self.before: Array = step.before.astype(np.float64)
        self.grad: Array = step.grad.astype(np.float64)
        self._step = step
        self._element = element

    def state(self, name: str, shape: tuple[int, ...]) -> Array:
        """A state entry before the step; a new one starts from zeros."""
        value = self._step.state_before.get(name)
        if value is not None:
            return np.asarray(value).astype(np.float64)
        if self._step.state_before:
            raise Unaccountable(f"its {name} before this step is not in the trace")
        return np.zeros(shape)

    def at(self, array: Array) -> float:
        """The element's number; in dimensions of length 1 (a row's or column's factor) the only one there is."""
        places = zip(self._element, array.shape, strict=True)
        return float(array[tuple(0 if length == 1 else place for place, length in places)])

    def say(self, array: Array) -> str:
        """The element's number, for a formula."""
        return number(self.at(array), self.n.name)

    def line(
        self, key: str, label: str, symbol: str, formula: str, value: Array | float, note: str = "", state: str = ""
    ) -> None:
        """Write a line; `state` is the entry that keeps the array."""
        shown = float(value) if np.ndim(value) == 0 else self.at(np.asarray(value))
        kept = self._step.state_after.get(state) if state else None
        recorded = None if kept is None else self.at(np.asarray(kept).astype(np.float64))
        self.terms.append(Term(key, label, symbol, formula, shown, note, state if kept is not None else "", recorded))

    def say_text(self, key: str, label: str, symbol: str, formula: str, text: str) -> None:
        """A line whose value is not one number."""
        self.terms.append(Term(key, label, symbol, formula, text))

    def finish(self, old: Array, new: Array) -> float:
        """The parameter's line; gives the predicted number."""
        moved = self.at(new) - self.at(old)
        sign = "−" if np.signbit(moved) else "+"
        size = number(self.n.wide(abs(moved)), self.n.name)
        self.line("parameter", "parameter", "θ", f"{self.say(old)} {sign} {size}", new)
        return self.at(new)


def norm_note(symbol: str, array: Array) -> str:
    """`‖B‖ = 1.2345`."""
    return f"‖{symbol}‖ = {float(np.linalg.norm(array.ravel())):.5g}"
