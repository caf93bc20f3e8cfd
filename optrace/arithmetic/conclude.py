"""The end of an account: the recorded value beside the predicted one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from optrace.arithmetic.account import AGREE_WITHIN, Account, StepInput, Term
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.shown import shown_hyper

FAR = 10**9
"""`ulps` of numbers too far apart to count, or of which one is not finite."""


def conclude(
    step: StepInput,
    element: tuple[int, ...],
    terms: Sequence[Term],
    predicted: float | complex | None,
    *,
    slack: float = 0.0,
    reason: str = "",
) -> Account:
    """The account of these lines. `slack` is how far off the prediction may be besides the last few places."""
    n = Floating(step.dtype)
    recorded = number_of(step.after[element])
    ulps = None
    within = AGREE_WITHIN
    if predicted is not None:
        before = step.before[element]
        parts = ("real", "imaginary") if isinstance(recorded, complex) else ("",)
        triples = [(part_of(predicted, part), part_of(recorded, part), part_of(before, part)) for part in parts]
        ulps = max(distance(*triple, n) for triple in triples)
        within += units(slack, min(unit_of(*triple, n) for triple in triples))
    return Account(
        optimizer=step.optimizer or step.class_name,
        rule="",
        parameter=step.parameter,
        element=element,
        dtype=n.name,
        hyper=shown_hyper(step.hyper),
        terms=tuple(terms),
        predicted=predicted,
        recorded=recorded,
        ulps=ulps,
        within=within,
        reason=reason,
    )


def distance(predicted: float, recorded: float, before: float, n: Floating) -> int:
    """How many units in the last place two numbers lie apart, rounded up."""
    if predicted == recorded or (math.isnan(predicted) and math.isnan(recorded)):
        return 0
    if not (math.isfinite(predicted) and math.isfinite(recorded)):
        return FAR
    return units(abs(predicted - recorded), unit_of(predicted, recorded, before, n))


def unit_of(predicted: float, recorded: float, before: float, n: Floating) -> float:
    """The unit in the last place that `distance` counts in.

    It is that of the largest of old value, new value and the change between them: where a parameter and its update
    nearly cancel, their sum is known no better than they are.
    """
    sizes = [abs(float(size)) for size in (predicted, recorded, before, recorded - before)]
    return n.spacing(max((size for size in sizes if math.isfinite(size)), default=1.0))


def units(size: float, unit: float) -> int:
    """How many units a size comes to, rounded up."""
    return min(math.ceil(round(size / unit, 3)), FAR) if math.isfinite(size) else 0


def number_of(value: Any) -> float | complex:
    return complex(value) if np.iscomplexobj(value) else float(value)


def part_of(value: Any, part: str) -> Any:
    """The real or imaginary part of what is complex; anything else itself."""
    if part and np.iscomplexobj(value):
        return value.real if part == "real" else value.imag
    return value
