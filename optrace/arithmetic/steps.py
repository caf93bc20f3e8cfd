"""One parameter's `StepInput` at one step of a trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from optrace.arithmetic.account import SparseValue, StepInput, Tensor
from optrace.errors import LookupFailed
from optrace.trace.dtypes import is_known
from optrace.trace.format import KIND_CODES, Flag
from optrace.trace.model import Event, Optimizer, Parameter, ParamGroup
from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]


def step_event(trace: Trace, at: Any) -> Event:
    """The step at a position. Raises `LookupFailed` naming the next step where the event is another call."""
    event = trace.event(at)
    if event.kind == "step":
        return event
    steps = np.flatnonzero(trace.column("kind") == KIND_CODES["step"])
    later = steps[np.searchsorted(steps, event.seq) :]
    nearest = later[0] if len(later) else (steps[-1] if len(steps) else None)
    where = "the trace has no step" if nearest is None else f"the nearest step is {trace.events[int(nearest)].position}"
    raise LookupFailed(f"{event.position} is a {event.kind}, and only a step has an update; {where}")


def group_of(trace: Trace, event: Event, parameter: Parameter) -> ParamGroup:
    """The param group that has the parameter at a step. Raises `LookupFailed` where none has."""
    for group in trace.groups(event) if event.optimizer is not None else ():
        if parameter.id in group.parameters:
            return group
    raise LookupFailed(f"{event.optimizer} does not hold {parameter.name} at {event.position}")


def step_input(trace: Trace, at: Any, parameter: str | Parameter, element: tuple[int, ...] | None = None) -> StepInput:
    """All that the arithmetic needs. Where the trace keeps samples only, that of one element.

    Raises `LookupFailed` for what is no step, no parameter of its optimizer, or was not kept.
    """
    event, entry = step_event(trace, at), trace.parameter(parameter)
    group = group_of(trace, event, entry)
    assert event.optimizer is not None  # group_of found its groups
    start = _entered(trace, event) if event.optimizer.class_name == "LBFGS" else event
    values = _Values(trace, entry, start, event, element)
    grad: Tensor | None = values.sparse_gradient() or values.before("grad", event)
    before, after = values.before("param", start), values.after("param")
    if before is None or after is None:
        raise LookupFailed(f"{entry.name} before and after {event.position} is not in the trace")
    if not is_known(entry.dtype):
        raise LookupFailed(f"{entry.name} is {entry.dtype}: optrace does not know the arithmetic of that dtype")
    if before.shape != after.shape or (grad is not None and tuple(grad.shape) != before.shape):
        raise LookupFailed(f"{entry.name} changed its shape at {event.position}; there is no element to follow")
    state_before, state_after = values.state(event.optimizer, group)
    return StepInput(
        class_name=event.optimizer.class_name,
        hyper={name: _hyper(value) for name, value in group.hyper.items()},
        before=before,
        after=after,
        grad=grad,
        state_before=state_before,
        state_after=state_after,
        dtype=entry.dtype,
        parameter=entry.name,
        optimizer=event.optimizer.name,
        device=entry.device,
        grad_scale=values.grad_scale(group),
        place=values.place,
        skipped=event.skipped,
    )


def steps_before(trace: Trace, at: Any) -> Iterator[Event]:
    """The steps of the same optimizer from a step on back, that step first."""
    event = step_event(trace, at)
    if event.optimizer is None:
        return
    of_it = (trace.column("kind") == KIND_CODES["step"]) & (trace.column("optimizer") == event.optimizer.id)
    numbers = np.flatnonzero(of_it)
    for number in numbers[: np.searchsorted(numbers, event.seq, "right")][::-1]:
        yield trace.events[int(number)]


class _Values:
    """Reads one parameter's values around a step: whole, or one element of samples."""

    def __init__(
        self, trace: Trace, entry: Parameter, start: Event, event: Event, element: tuple[int, ...] | None
    ) -> None:
        self._trace, self._entry, self._start, self._event = trace, entry, start, event
        self.place: tuple[int, int] | None = None
        if trace.exactness(entry, "param", event) in ("sampled", "statistics", "not kept"):
            self.place = (self._sampled(element), entry.numel)

    def _sampled(self, element: tuple[int, ...] | None) -> int:
        """The flat index of the element, which must be among those that were kept."""
        entry, sample = self._entry, self._trace.sample(self._entry, "param", self._event)
        if sample is None or not len(sample.indices):
            raise LookupFailed(f"no element of {entry.name} was kept at {self._event.position}")
        if int(sample.indices.max()) >= entry.numel:
            raise LookupFailed(f"{entry.name} is no longer of the shape {list(entry.shape)} at {self._event.position}")
        if element is None:
            return int(sample.indices[0])
        flat = int(np.ravel_multi_index(element, entry.shape)) if element else 0
        if flat not in sample.indices:
            near = int(sample.indices[np.argmin(np.abs(sample.indices - flat))])
            place = [int(i) for i in np.unravel_index(near, entry.shape)]
            raise LookupFailed(
                f"only a sample of {entry.name} was kept, without {list(element)}; the nearest is {place}"
            )
        return flat

    def before(self, kind: str, event: Event) -> Array | None:
        """As the event's call found it."""
        if self.place is None:
            return self._trace.before(self._entry, kind, event)
        try:
            return self._chosen(self._trace.before(self._entry, kind, event))
        except LookupFailed:
            return self._sample(kind, event.seq - 1)

    def after(self, kind: str) -> Array | None:
        if self.place is None:
            return self._trace.value(self._entry, kind, self._event)
        return self._sample(kind, self._event.seq)

    def _sample(self, kind: str, seq: int) -> Array | None:
        """One element as an array [1]; what was kept whole and is one number for all stays as it is."""
        assert self.place is not None
        sample = self._trace.sample(self._entry, kind, seq) if seq >= 0 else None
        if sample is not None and self.place[0] in sample.indices:
            return sample.values[np.flatnonzero(sample.indices == self.place[0])]
        return self._chosen(self._trace.value(self._entry, kind, seq) if seq >= 0 else None)

    def _chosen(self, whole: Array | None) -> Array | None:
        """Of a value with as many elements as the parameter, the one that is looked at."""
        assert self.place is not None
        if whole is not None and whole.size == self.place[1] and whole.size > 1:
            return whole.reshape(-1)[self.place[0] : self.place[0] + 1]
        return whole

    def sparse_gradient(self) -> SparseValue | None:
        """The gradient as indices and values, where it is sparse."""
        if self.place is not None:
            return None
        parts = self._trace.sparse(self._entry, "grad", self._event)
        return None if parts is None else SparseValue(parts[0], parts[1], self._entry.shape)

    def state(self, optimizer: Optimizer, group: ParamGroup) -> tuple[dict[str, Any], dict[str, Any]]:
        """The optimizer's state of the parameter before and after the step."""
        first = self._entry
        if optimizer.class_name == "LBFGS":  # all parameters' state hangs on the first
            first = self._trace.parameters.by_id(group.parameters[0])
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for kind in self._trace.kinds(first)[:]:
            name = _entry_name(self._trace, first, kind, optimizer)
            if name is None:
                continue
            owner = _Values(self._trace, first, self._start, self._event, None) if first is not self._entry else self
            old, new = owner.before(kind, self._start), owner.after(kind)
            if old is not None:
                before[name] = old
            if new is not None:
                after[name] = self._stretch(new, group) if name == "d" and optimizer.class_name == "LBFGS" else new
        return before, after

    def _stretch(self, flat: Array, group: ParamGroup) -> Array:
        """This parameter's part of a direction over all parameters."""
        offset = 0
        for number in group.parameters:
            other = self._trace.parameters.by_id(number)
            width = 2 if other.dtype.startswith("complex") else 1
            if number == self._entry.id:
                part = flat[offset : offset + width * other.numel]
                part = part[0::2] + 1j * part[1::2] if width == 2 else part
                return part.reshape(other.shape)
            offset += width * other.numel
        return flat

    def grad_scale(self, group: ParamGroup) -> float | None:
        """The scale that a fused step divided the gradient by, where a GradScaler left that to it."""
        if not group.hyper.get("fused") or self.place is not None:
            return None
        grad, left = self.before("grad", self._event), self.after("grad")
        if grad is None or left is None or np.array_equal(grad, left, equal_nan=True):
            return None
        for seq in range(self._event.seq - 1, max(-1, self._event.seq - 1000), -1):
            event = self._trace.events[seq]
            if event.kind == "backward" and event.flags & Flag.SCALED and "scale" in event.detail:
                return float(event.detail["scale"])
        return None


def _entered(trace: Trace, event: Event) -> Event:
    """The first event inside a step's call, where its closure made any: what was there when the call began."""
    first = event
    while first.seq > 0 and trace.events[first.seq - 1].depth > event.depth:
        first = trace.events[first.seq - 1]
    return first


def _entry_name(trace: Trace, parameter: Parameter, kind: str, optimizer: Optimizer) -> str | None:
    """The state entry's own name, None where the value is not this optimizer's."""
    if kind in ("param", "grad"):
        return None
    written = trace.writes(parameter, kind)
    if not len(written):
        return None
    owners = {
        change.optimizer
        for change in trace.effect(int(written[0]))
        if change.parameter == parameter.id and change.kind == kind
    }
    return kind.removeprefix(f"{optimizer.name}.") if optimizer.id in owners else None


def _hyper(value: Any) -> Any:
    """A hyperparameter as it computes: the number of a one-element tensor, in float32 where only that explains it.

    A trace holds tensors among hyperparameters as plain numbers. One with more digits than anybody writes that is
    a float32 exactly was a float32 tensor.
    """
    if isinstance(value, list):
        return _hyper(value[0]) if len(value) == 1 else tuple(_hyper(item) for item in value)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return str(value)  # there is no computing with it
    if isinstance(value, float) and len(repr(value)) > 12:
        with np.errstate(over="ignore"):
            narrow = np.float32(value)
        return narrow if float(narrow) == value else value
    return value
