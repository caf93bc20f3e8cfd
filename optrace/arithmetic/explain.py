"""The arithmetic on top of a trace: `explain` and `momentum_origins`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optrace.arithmetic import rules
from optrace.arithmetic.account import Account, StepInput, Unaccountable
from optrace.arithmetic.evaluate import account
from optrace.arithmetic.general import general, wide
from optrace.arithmetic.origins import origins
from optrace.arithmetic.sheet import Hyper
from optrace.arithmetic.steps import step_event, step_input, steps_before
from optrace.errors import LookupFailed
from optrace.trace.model import Event, Parameter, Position
from optrace.trace.reader import Trace


def explain(trace: Trace, at: Any, parameter: str | Parameter, element: tuple[int, ...] | None = None) -> Account:
    """The update of one element at a step, in the terms of its optimizer's rule, with the recorded value beside it.

    `element` has one index per dimension; None takes the one that moved most. Raises `LookupFailed` for a
    position that is no step, a parameter the optimizer does not hold, an element that does not exist or was not kept.
    """
    entry, event = trace.parameter(parameter), step_event(trace, at)
    element = None if element is None else checked(entry, element)
    step = step_input(trace, event, entry, element)
    if step.place is not None:  # only this one number of it was kept
        shown = tuple(int(i) for i in np.unravel_index(step.place[0], entry.shape))
        return replace(account(step, (0,)), element=shown)
    place = _most_moved(step) if element is None else element
    if event.failed:
        return general(step, place, "the step raised an exception, so it may have ended half way")
    return account(step, place)


def checked(parameter: Parameter, element: tuple[int, ...]) -> tuple[int, ...]:
    """The element with indices counted from 0. Raises `LookupFailed` where there is no such element."""
    shape = parameter.shape
    if len(element) != len(shape):
        example = ",".join("0" for _ in shape)
        how = (
            f"it has the shape {list(shape)}, so an element is written like {example}" if shape else "it is one number"
        )
        raise LookupFailed(f"{parameter.name} has no element {list(element)}: {how}")
    for index, length in zip(element, shape, strict=True):
        if not -length <= index < length:
            raise LookupFailed(f"{parameter.name} has no element {list(element)}: its shape is {list(shape)}")
    return tuple(index % length for index, length in zip(element, shape, strict=True))


@dataclass(frozen=True)
class PastStep:
    """What one step still makes up of a momentum buffer."""

    position: Position
    gradient: float
    """What the step put in: the gradient after maximize and weight decay, or its norm."""
    weight: float
    amount: float
    share: float
    """Of all amounts by size."""


@dataclass(frozen=True)
class MomentumOrigins:
    """A momentum buffer or first moment after a step, taken apart into the steps that made it."""

    parameter: str
    element: tuple[int, ...] | None
    state: str
    of: str
    """What the buffer sums up: `gradient`."""
    total: float
    """The buffer's number at the element, or its norm."""
    steps: tuple[PastStep, ...]
    """Newest first."""
    older: float
    """What all steps before the last of `steps` make up, and rounding."""
    older_share: float
    reason: str = ""
    """Why the list ends where it does, unless at the first step."""


def momentum_origins(
    trace: Trace, at: Any, parameter: str | Parameter, element: tuple[int, ...] | None = None, limit: int = 20
) -> MomentumOrigins:
    """How much of the momentum after a step each of the last `limit` steps still makes up.

    Of the whole parameter (`element=None`), amounts are projections on the buffer and add up to its norm.
    Raises `LookupFailed` as `explain` does, and where the optimizer keeps no momentum.
    """
    entry, event = trace.parameter(parameter), step_event(trace, at)
    element = None if element is None else checked(entry, element)
    now = step_input(trace, event, entry, element)
    rule = rules.find(now.class_name)
    buffer = rule.buffer if rule else None
    total = None if buffer is None else now.state_after.get(buffer.state)
    if buffer is None or total is None:
        raise LookupFailed(
            f"{event.optimizer} keeps no momentum of {entry.name} at {event.position} that can be taken apart"
        )
    if now.place is not None and element is None:
        raise LookupFailed(f"only a sample of {entry.name} was kept; name one of its elements")
    pick = _picker(now, element)
    if np.iscomplexobj(total) and element is not None:
        raise LookupFailed(f"{entry.name} is complex; ask for the whole parameter")

    past = _Past(trace, event, entry, element, buffer.state, limit)
    found = list(past)
    deposits = (
        replace(deposit, gradient=pick(np.asarray(deposit.gradient)))
        for deposit in (buffer.deposit(step, Hyper(step.hyper, step.class_name)) for _, step in found)
    )
    whole = pick(wide(np.asarray(total)))
    try:
        parts = list(origins(whole, deposits))
    except Unaccountable as lack:
        raise LookupFailed(f"the momentum of {entry.name} cannot be taken apart: {lack}") from lack
    size = float(whole) if np.ndim(whole) == 0 else float(np.linalg.norm(whole.ravel()))
    older = size - sum(part.amount for part in parts)
    sizes = sum(abs(part.amount) for part in parts) + abs(older)
    return MomentumOrigins(
        parameter=entry.name,
        element=element,
        state=buffer.state,
        of=buffer.of,
        total=size,
        steps=tuple(
            PastStep(when.position, part.gradient, part.weight, part.amount, abs(part.amount) / sizes if sizes else 0.0)
            for (when, _), part in zip(found, parts, strict=True)
        ),
        older=older,
        older_share=abs(older) / sizes if sizes else 0.0,
        reason=past.reason,
    )


class _Past:
    """The last steps that put something into a buffer, newest first; `reason` says why they end, once they did."""

    def __init__(
        self, trace: Trace, event: Event, entry: Parameter, element: tuple[int, ...] | None, state: str, limit: int
    ) -> None:
        self._trace, self._event, self._entry, self._element = trace, event, entry, element
        self._state, self._limit = state, limit
        self.reason = ""

    def __iter__(self) -> Iterator[tuple[Event, StepInput]]:
        count = 0
        expected: Any = None
        for event in steps_before(self._trace, self._event):
            if count == self._limit:
                self.reason = f"the last {self._limit} steps"
                return
            try:
                step = step_input(self._trace, event, self._entry, self._element)
            except LookupFailed as lack:
                self.reason = str(lack)
                return
            if step.grad is None or step.skipped:
                continue
            if expected is not None and not _same(expected, step.state_after.get(self._state)):
                self.reason = f"something other than a step wrote {self._state} after {event.position}"
                return
            count += 1
            yield event, step
            expected = step.state_before.get(self._state)
            if expected is None:
                return  # the buffer began with this step
        self.reason = "the trace begins there"


def _same(first: Any, second: Any) -> bool:
    return second is not None and np.array_equal(wide(np.asarray(first)), wide(np.asarray(second)), equal_nan=True)


def _picker(step: StepInput, element: tuple[int, ...] | None) -> Any:
    """What takes the element out of an array; the array itself for the whole parameter."""
    if element is None:
        return lambda array: array
    place = (0,) if step.place is not None else element
    return lambda array: array[place]


def _most_moved(step: StepInput) -> tuple[int, ...]:
    if step.before.size == 0:
        raise LookupFailed(f"{step.parameter} has no elements")
    with np.errstate(all="ignore"):
        moved = np.nan_to_num(np.abs(wide(step.after) - wide(step.before)), nan=0.0)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(moved)), step.shape))
