"""What can be said of any step, whatever its rule: the change beside the gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optrace.arithmetic.account import Account, SparseValue, StepInput, Term
from optrace.arithmetic.floating import component
from optrace.arithmetic.shown import shown_hyper
from optrace.arithmetic.text import number, scalar

Array = np.ndarray[Any, Any]


def general(step: StepInput, element: tuple[int, ...], reason: str) -> Account:
    """An account without a rule: nothing is predicted, and it says why."""
    before, after = wide(step.before), wide(step.after)
    change = after - before
    terms = []
    if step.grad is not None:
        gradient = dense(step.grad)
        terms.append(_element("gradient", "gradient", "g", "", gradient[element], step))
        terms.append(_element("change", "change", "Δ", "new − old", change[element], step))
        if gradient[element] != 0:
            ratio = -change[element] / gradient[element]
            terms.append(_element("rate", "effective rate", "r", "−Δ / g", ratio, step, "per unit of g"))
        terms += _whole(step, gradient, change)
    else:
        terms.append(_element("change", "change", "Δ", "new − old", change[element], step))
    return Account(
        optimizer=step.optimizer or step.class_name,
        rule="",
        parameter=step.parameter,
        element=element,
        dtype=component(step.dtype),
        hyper=shown_hyper(step.hyper),
        terms=tuple(terms),
        predicted=None,
        recorded=complex(step.after[element]) if np.iscomplexobj(step.after) else float(step.after[element]),
        ulps=None,
        reason=reason,
    )


def wide(array: Array) -> Array:
    """As float64 or complex128."""
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def dense(value: Array | SparseValue) -> Array:
    """A dense array of a sparse value; entries that are named twice add up."""
    if not isinstance(value, SparseValue):
        return wide(value)
    values = wide(value.values)
    full = np.zeros(value.shape, values.dtype)
    np.add.at(full, tuple(value.indices), values)
    return full


def angle(first: Array, second: Array) -> float:
    """Between two tensors taken as vectors, in degrees; nan where one is zero."""
    with np.errstate(all="ignore"):
        one, other = (np.asarray(array).ravel() / np.linalg.norm(array) for array in (first, second))
        half = math.atan2(float(np.linalg.norm(one - other)), float(np.linalg.norm(one + other)))
    return math.degrees(2 * half)


def _whole(step: StepInput, gradient: Array, change: Array) -> list[Term]:
    moved, pull = float(np.linalg.norm(change.ravel())), float(np.linalg.norm(gradient.ravel()))
    terms = [
        Term("gradient_norm", "‖gradient‖", "‖g‖", "of the whole parameter", _six(pull)),
        Term("change_norm", "‖change‖", "‖Δ‖", "of the whole parameter", _six(moved)),
    ]
    turned = angle(-change, gradient)
    if not math.isnan(turned):
        note = "0° is plain descent" if turned < 90 else "over 90°: against the gradient's descent"
        terms.append(Term("angle", "angle to −g", "∠", "in degrees", float(f"{turned:.4g}"), note))
    if pull:
        rate = moved / pull
        note = ""
        lr = step.hyper.get("lr")
        if isinstance(lr, (int, float, np.floating)) and lr:
            note = f"{scalar(np.float64(f'{rate / float(lr):.3g}'))} × lr"
        terms.append(Term("whole_rate", "effective rate", "", "‖Δ‖ / ‖g‖", _six(rate), note))
    return terms


def _six(value: float) -> float:
    """Six digits: sums over a tensor depend on their order after that."""
    return float(f"{value:.6g}")


def _element(key: str, label: str, symbol: str, formula: str, value: Any, step: StepInput, note: str = "") -> Term:
    if np.iscomplexobj(value):
        dtype = component(step.dtype)
        text = f"{number(value.real, dtype)} {'−' if value.imag < 0 else '+'} {number(abs(value.imag), dtype)}i"
        return Term(key, label, symbol, formula, text, note)
    return Term(key, label, symbol, formula, float(value), note)
