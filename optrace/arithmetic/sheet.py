"""The sheet that an element-wise rule writes its lines on, for one real number of one parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from optrace.arithmetic.account import Term, Unaccountable
from optrace.arithmetic.floating import Floating, Real
from optrace.arithmetic.text import number, percent, scalar


class Hyper:
    """A param group's hyperparameters, as numbers that compute as torch computes with them."""

    def __init__(self, hyper: Mapping[str, Any], class_name: str) -> None:
        self._hyper = hyper
        self._class_name = class_name

    def scalar(self, name: str, default: Any = None) -> Any:
        """A float, or a NumPy scalar of its own dtype where the hyperparameter is a tensor."""
        value = self._hyper.get(name, default)
        if value is None:
            raise Unaccountable(f"this {self._class_name} has no hyperparameter {name!r}")
        return _scalar(value)

    def pair(self, name: str) -> tuple[Any, Any]:
        """`betas`, `etas`, `step_sizes`."""
        value = self._hyper.get(name)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise Unaccountable(f"this {self._class_name} has no pair of hyperparameters {name!r}")
        return _scalar(value[0]), _scalar(value[1])

    def flag(self, name: str) -> bool:
        return bool(self._hyper.get(name))

    def get(self, name: str) -> Any:
        return self._hyper.get(name)


def _scalar(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.reshape(-1)[0]
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, np.generic):
        return value
    raise Unaccountable(f"cannot compute with the hyperparameter {value!r}")


class Sheet:
    """One element's parameter, gradient and state, and the lines written so far.

    A rule reads `p` and `g`, computes with `n` (the dtype's operations) and returns the new value.
    """

    def __init__(
        self,
        *,
        hyper: Hyper,
        n: Floating,
        p: float,
        g: float,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        mode: str,
        whole: Floating,
        sparse: bool = False,
        part: str = "",
    ) -> None:
        self.hyper = hyper
        self.n = n
        self.whole = whole
        """The operations on the tensor itself, before a complex one is viewed as pairs of real numbers."""
        self.slack = 0.0
        """How far the new value may be off through roundings that torch's kernels are free in, besides the last."""
        self.p: Real = np.float64(p)
        self.g: Real = np.float64(g)
        self.terms: list[Term] = []
        self.mode = mode
        """`single`, `foreach` or `fused`."""
        self.sparse = sparse
        """The gradient is sparse and has an entry for this element."""
        self.capturable = hyper.flag("capturable")
        self._before = before
        self._after = after
        self._part = part
        self._shown_gradient = ""
        self.blur = 0.0
        """The unit in the last place of the largest number that went into the gradient's line."""

    def has(self, name: str) -> bool:
        """The optimizer kept this state entry for the parameter before the step."""
        return self._before.get(name) is not None

    def state(self, name: str, default: float = 0.0) -> Real:
        """A state entry before the step; `default` is what a new one starts from."""
        return np.float64(self._value(name, default))

    def tensor(self, name: str, default: float) -> Any:
        """A state entry that is a single number for the whole parameter, as a scalar of its dtype."""
        value = self._value(name, default)
        held = self._before.get(name, self._after.get(name))
        return held.dtype.type(value) if isinstance(held, (np.ndarray, np.generic)) else np.float32(value)

    def _value(self, name: str, default: float) -> Any:
        value = self._before.get(name)
        if value is None:
            if self._before and name not in ("momentum_buffer",):
                raise Unaccountable(f"its {name} before this step is not in the trace")
            return default
        return value

    def count(self) -> Any:
        """Which step of this parameter this is, from 1: a tensor where torch keeps it one (capturable)."""
        step = self.tensor("step", 0.0) + 1
        return step if self.capturable or self.hyper.flag("differentiable") else float(step)

    def say(self, value: Any) -> str:
        """A number of the tensor's dtype, for a formula."""
        return number(value, self.n.name)

    def line(
        self,
        key: str,
        label: str,
        symbol: str,
        formula: str,
        value: Real,
        note: str = "",
        state: str = "",
    ) -> Real:
        """Write a line and give its value back."""
        kept = self._after.get(state) if state else None
        self.terms.append(
            Term(
                key,
                label,
                symbol,
                formula,
                float(self.n.stored(value) if state else value),
                note,
                state if kept is not None else "",
                None if kept is None else float(kept),
                self._part,
            )
        )
        return value

    def scalar_line(self, key: str, label: str, symbol: str, formula: str, value: Any, state: str) -> None:
        """A line for a number that the state holds once for the whole parameter, in a dtype of its own."""
        kept = self._after.get(state)
        recorded = None if kept is None else float(kept)
        self.terms.append(Term(key, label, symbol, formula, float(value), "", state, recorded, self._part))

    def unscale(self, scale: float) -> None:
        """What a fused kernel does first when a GradScaler is in use."""
        self.line("scaled", "scaled gradient", "s", "", self.g)
        self.g = self.n.div(self.g, scale)
        self._shown_gradient = f"s / {scalar(scale)}"

    def direction(self, *, decay: bool = True, viewed: bool | None = None) -> None:
        """The gradient, turned round for `maximize`, with the L2 penalty's pull added.

        `viewed`: this optimizer views complex numbers as pairs of real ones before it adds the penalty, as
        foreach implementations usually do.
        """
        n = self.n if viewed or (viewed is None and self.mode == "foreach") else self.whole
        self.line("gradient", "gradient", "g", self._shown_gradient, self.g)
        if self.hyper.flag("maximize"):
            self.g = self.line("maximize", "maximize", "g", "−g", -self.g)
        weight_decay = self.hyper.scalar("weight_decay", 0.0) if decay else 0.0
        if weight_decay != 0:
            pulled = n.add(self.g, self.p, weight_decay)
            formula = f"g + {scalar(weight_decay)} · {self.say(self.p)}"
            self.blur = n.spacing(max(abs(self.g), abs(weight_decay * self.p)))
            self.g = self.line("weight_decay", "weight decay", "g", formula, pulled, "L2: added to the gradient")

    def decouple(self, lr: Any) -> None:
        """AdamW's weight decay: the parameter itself shrinks, and the gradient does not know."""
        weight_decay = self.hyper.scalar("weight_decay", 0.0)
        if weight_decay != 0:
            formula = f"{self.say(self.p)} · (1 − {scalar(lr)} · {scalar(weight_decay)})"
            shrunk = self.n.scale(self.p, 1 - lr * weight_decay)
            self.p = self.line("decay", "weight decay", "θ", formula, shrunk, "decoupled: the parameter shrinks")

    def finish(self, value: Real, change: Real | None = None) -> Real:
        """The parameter's line, the last."""
        moved = self.n.stored(value) - self.p if change is None else change
        sign = "−" if np.signbit(moved) else "+"
        size = self.say(self.n.wide(abs(moved)))
        return self.line("parameter", "parameter", "θ", f"{self.say(self.p)} {sign} {size}", self.n.stored(value))


def share(new: Real, old: Real) -> str:
    """How much of old + new is new, by size."""
    whole = abs(float(new)) + abs(float(old))
    return f"{percent(abs(float(new)) / whole)} of it from this step" if whole and math.isfinite(whole) else ""
