"""Which events of several ranks answer to each other: the moments just after a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import KIND_CODES, Flag

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

    Array = np.ndarray[Any, Any]

_STEP, _BACKWARD = KIND_CODES["step"], KIND_CODES["backward"]


@dataclass(frozen=True)
class Moments:
    """Numbers of the events after which several ranks can be compared."""

    together: Array
    """[moments, ranks] int64: the same moment on every rank."""
    alone: tuple[Array, ...]
    """For each rank its steps that other ranks did not make."""

    def skipped_between(self, moment: int) -> list[tuple[int, int]]:
        """Steps that only some ranks made between the moment before and this one: rank's place, event number."""
        found = []
        for place, numbers in enumerate(self.alone):
            first = self.together[moment - 1, place] if moment > 0 else -1
            inside = numbers[(numbers > first) & (numbers < self.together[moment, place])]
            found += [(place, int(number)) for number in inside]
        return found


def moments(traces: Sequence[Trace]) -> Moments:
    """The steps that all of the traces made.

    Where all made as many, they answer to each other in order. Where not (a rank that leaves one out, or
    that died), by how many backwards came before: these the ranks of a process group run together.
    """
    steps = [_after_steps(trace) for trace in traces]
    if len({len(numbers) for numbers in steps}) == 1:
        return Moments(np.stack(steps, axis=1), tuple(np.empty(0, np.int64) for _ in traces))
    keys = [_keys(trace, numbers) for trace, numbers in zip(traces, steps, strict=True)]
    common = keys[0]
    for others in keys[1:]:
        common = np.intersect1d(common, others)
    columns, alone = [], []
    for numbers, mine in zip(steps, keys, strict=True):
        shared = np.isin(mine, common)
        columns.append(numbers[shared])
        alone.append(numbers[~shared])
    return Moments(np.stack(columns, axis=1), tuple(alone))


def _after_steps(trace: Trace) -> Array:
    """The outermost events that are a step or hold one, without those that raised or that a GradScaler left out."""
    done = (trace.column("flags") & int(Flag.FAILED | Flag.SKIPPED)) == 0
    steps = np.flatnonzero((trace.column("kind") == _STEP) & done)
    outermost = np.flatnonzero(trace.column("depth") == 0)
    places = np.searchsorted(outermost, steps)
    return np.unique(outermost[places[places < len(outermost)]]).astype(np.int64)


def _keys(trace: Trace, numbers: Array) -> Array:
    """For each of the events a number that says how many backwards came before, and how many steps since."""
    before = np.cumsum(trace.column("kind") == _BACKWARD)[numbers].astype(np.int64)
    since = np.arange(len(numbers)) - np.searchsorted(before, before)
    keys: Array = before * (1 << 20) + since
    return keys
