"""The values of a trace: any parameter, gradient or state entry at any position."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from optrace.errors import DamagedError, LookupFailed, nearest
from optrace.trace.dtypes import decode, decode_sparse, densify, is_known, numpy_dtype
from optrace.trace.format import ONE_PASS, SMALL, STATISTICS, Flag, Op, Storage
from optrace.trace.model import Change, Parameter
from optrace.trace.positions import Positions
from optrace.trace.rows import MAX_ZEROS

Array = np.ndarray[Any, Any]
_ABSENT = (Op.CLEAR, Op.GONE)


class Sample(NamedTuple):
    """What was kept of a value that was not kept whole."""

    indices: Array
    """Which elements (flat, row-major); none where only the statistics were kept."""
    values: Array
    """Those elements, in the tensor's own dtype."""
    statistics: dict[str, float]
    """norm, mean, min, max, zeros, nonfinite of all elements. Where values are sampled, only norm and nonfinite are
    taken at every event, the others in one recorded iteration of 8: they are missing elsewhere."""


class Values(Positions):
    """What every value was just after each event."""

    def parameter(self, name: str | Parameter) -> Parameter:
        """A parameter by any of its names. Raises `LookupFailed` with the nearest."""
        if isinstance(name, Parameter):
            return name
        found = self.parameters.find(name)
        if found is None:
            raise LookupFailed(f"there is no parameter {name!r}{nearest(name, self.parameters)}")
        return found

    def kinds(self, parameter: str | Parameter) -> list[str]:
        """Which values of a parameter were ever recorded: `param`, `grad`, then its state entries."""
        return self._writes.kinds(self.parameter(parameter).id)

    def value(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Array | None:
        """A value just after the event at a position (by default at the end), bit for bit as it was.

        `kind` is `param`, `grad` or the name of a state entry. Read-only, in the tensor's own
        dtype and shape; sparse gradients come dense. None where there was none. Raises
        `LookupFailed` for unknown names and for values that were only sampled (see `sample`).
        """
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self._decode(entry, *found)

    def before(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Array | None:
        """A value as the event's call found it: what `step` had as gradient, say."""
        entry = self.parameter(parameter)
        found = self._writes.before(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self._decode(entry, *found)

    def sparse(self, parameter: str | Parameter, kind: str = "grad", at: Any = None) -> tuple[Array, Array] | None:
        """A sparse value as it was: indices [dims, nnz] and values [nnz, …]; None where it was not sparse."""
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        if found is None or found[1].storage is not Storage.SPARSE:
            return None
        return decode_sparse(self._bytes(*found), found[1].dtype, found[1].shape)

    def exactness(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> str | None:
        """How much was kept of a value; None where there was none.

        `exact`: every bit. `keyframe`: every bit too, in an iteration that keeps what others only sample.
        `sampled`: statistics and some elements. `statistics`: these alone. `not kept`: nothing but
        what happened to it, for want of room, or because it was left out.
        """
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self.exactness_of(*found)

    def exactness_of(self, seq: int, change: Change) -> str | None:
        """The same for what one change at event `seq` stored."""
        if change.op in _ABSENT:
            return None
        if change.op is Op.LOST or change.storage is Storage.DROPPED:
            return "not kept"
        if change.storage is Storage.SAMPLE:
            return "sampled" if change.nbytes > len(STATISTICS) * 8 else "statistics"
        if change.nbytes > SMALL and int(self.column("flags")[seq]) & Flag.KEYFRAME:
            return "keyframe"
        return "exact"

    def sample(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Sample | None:
        """What was kept of a value that was not kept whole; None where it is exact, absent or not kept."""
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        if found is None or found[1].storage is not Storage.SAMPLE:
            return None
        change = found[1]
        data = self._bytes(*found)
        numel = math.prod(change.shape)
        rows = self._index.rows("SELECT indices FROM sample WHERE parameter = ? AND numel = ?", (entry.id, numel))
        head = len(STATISTICS) * 8
        try:
            numbers = np.frombuffer(data[:head], "<f8")
            values = np.frombuffer(data[head:], numpy_dtype(change.dtype))
            indices = np.frombuffer(rows[0][0] if len(values) else b"", "<i8")
            if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < numel:
                raise ValueError
            if len(indices) != len(values) and is_known(change.dtype):
                raise ValueError
        except (ValueError, IndexError, TypeError) as error:
            raise DamagedError(f"{self.path} is damaged: a sample cannot be read") from error
        taken = dict(zip(STATISTICS, map(float, numbers), strict=True))
        if math.isnan(taken["zeros"]):
            taken = {name: taken[name] for name in ONE_PASS}
        return Sample(indices, values, taken)

    def writes(self, parameter: str | Parameter, kind: str = "param") -> Array:
        """Numbers of the events that wrote a value, ascending."""
        entry = self.parameter(parameter)
        return self._writes.all(entry.id, self._kind(entry, kind))

    def last_write(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> tuple[int, Change] | None:
        """The event that last wrote a value at or before a position, and what it did; None where none has."""
        return self._writes.last(self.parameter(parameter).id, kind, self.seq(at))

    def written(self, at: Any) -> dict[tuple[int, str], tuple[int, Change]]:
        """For every (parameter id, kind): the event that last wrote it at or before a position, and what it did."""
        return self._writes.snapshot(self.seq(at))

    def statistics(
        self,
        parameter: str | Parameter,
        kind: str = "param",
        statistic: str = "norm",
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[Array, Array]:
        """A statistic of a value over the run: event numbers that wrote it, and the statistic after each.

        `statistic` is one of norm, mean, min, max, zeros, nonfinite; float64, exact values' own are
        computed here in float64. nan where the value was absent or not kept, or the statistic not taken (see `Sample`).
        """
        from optrace.trace.statistics import over_run

        if statistic not in STATISTICS:
            raise LookupFailed(f"there is no statistic {statistic!r}{nearest(statistic, STATISTICS)}")
        numbers = self.writes(parameter, kind)
        stop = len(self.events) if stop is None else stop
        numbers = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, stop)]
        return numbers, over_run(self, self.parameter(parameter).id, kind, statistic, numbers)

    # Inside

    def _kind(self, entry: Parameter, kind: str) -> str:
        if kind not in ("param", "grad") and kind not in (known := self._writes.kinds(entry.id)):
            raise LookupFailed(f"{entry.name} has no value {kind!r}{nearest(kind, known)}")
        return kind

    def bytes_of(self, seq: int, change: Change) -> bytes:
        """The stored bytes of one change, checked against their checksum."""
        return self._tensors.read(int(self.column("offset")[seq]) + change.offset, change.nbytes)

    _bytes = bytes_of

    def _decode(self, entry: Parameter, seq: int, change: Change) -> Array | None:
        if change.op in _ABSENT:
            return None
        if change.storage is Storage.ZEROS:
            dtype = np.dtype(np.complex64) if change.dtype == "complex32" else numpy_dtype(change.dtype)
            if math.prod(change.shape) * dtype.itemsize > MAX_ZEROS:
                raise DamagedError(f"{self.path} is damaged: a value of shape {change.shape}")
            return np.broadcast_to(np.zeros((), dtype), change.shape)
        if change.storage is Storage.FULL:
            return decode(self._bytes(seq, change), change.dtype, change.shape)
        if change.storage is Storage.SPARSE:
            try:
                return densify(*decode_sparse(self._bytes(seq, change), change.dtype, change.shape), change.shape)
            except MemoryError as error:
                raise LookupFailed(f"{entry.name} is too large to be made dense; sparse() has it as it was") from error
        position = self.events[seq].position
        if change.op is Op.LOST:
            raise LookupFailed(f"{entry.name} is not known at {position}: {self.gap(seq)}")
        if change.storage is Storage.SAMPLE:
            raise LookupFailed(f"{entry.name} was not kept whole at {position}; sample() has what was kept")
        raise LookupFailed(f"{entry.name} was not kept at {position}: no room was left, or it was not chosen")
