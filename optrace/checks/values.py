"""Reading values for a rule: whole where they were kept whole, else the sample of their elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.dtypes import decode, decode_sparse, numpy_dtype
from optrace.trace.format import STATISTICS, Op, Storage
from optrace.trace.model import Change

if TYPE_CHECKING:
    from optrace.checks.run import Run
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
_HEAD = len(STATISTICS) * 8


def elements(run: Run, parameter: int, kind: str, at: int, before: bool = False) -> Array | None:
    """The elements, flat, after an event (or as its call found them); None where there is nothing to read."""
    trace = run.trace
    entry = trace.parameters.by_id(parameter)
    try:
        value = trace.before(entry, kind, at) if before else trace.value(entry, kind, at)
    except LookupFailed:
        try:
            sample = trace.sample(entry, kind, at - 1 if before and at else at)
        except LookupFailed:
            return None
        if sample is None or not len(sample.values):
            return None
        run.from_sample = True
        return sample.values
    return None if value is None else value.reshape(-1)


def stored(trace: Trace, seq: int, change: Change) -> Array | None:
    """The elements that one change stored, flat: all, a sample, or those of a sparse value; None for none."""
    if change.op in (Op.CLEAR, Op.GONE):
        return None
    if change.storage is Storage.FULL:
        return decode(trace.bytes_of(seq, change), change.dtype, change.shape).reshape(-1)
    if change.storage is Storage.SAMPLE:
        return np.frombuffer(trace.bytes_of(seq, change)[_HEAD:], numpy_dtype(change.dtype))
    if change.storage is Storage.SPARSE:
        return decode_sparse(trace.bytes_of(seq, change), change.dtype, change.shape)[1].reshape(-1)
    if change.storage is Storage.ZEROS:
        return np.zeros(1)
    return None


def norm(trace: Trace, seq: int, change: Change) -> float:
    """The 2-norm of what a change stored, of all its elements; nan where it cannot be known."""
    if change.storage is Storage.SAMPLE:
        return float(np.frombuffer(trace.bytes_of(seq, change)[:8], "<f8")[0])
    values = stored(trace, seq, change)
    return float("nan") if values is None else length(values)


def finite(trace: Trace, seq: int, change: Change) -> bool:
    """Whether all elements of what a change stored are finite; True where it cannot be known."""
    if change.storage is Storage.SAMPLE:
        place = STATISTICS.index("nonfinite")
        return not np.frombuffer(trace.bytes_of(seq, change)[:_HEAD], "<f8")[place] > 0
    values = stored(trace, seq, change)
    return values is None or all_finite(values)


def all_finite(values: Array) -> bool:
    """Whether there is neither NaN nor Inf, in any dtype."""
    if values.dtype.kind in "biu":
        return True
    if values.dtype.kind not in "fc":
        values = values.astype(np.float32)
    return bool(np.isfinite(values).all())


def length(values: Array) -> float:
    """The 2-norm, in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        work = np.abs(values.astype(np.complex128)) if values.dtype.kind == "c" else values.astype(np.float64)
        return float(np.sqrt(work @ work))
