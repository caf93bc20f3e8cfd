"""Statistics of a value over the run, from the bytes themselves where they were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.dtypes import decode, decode_sparse
from optrace.trace.format import STATISTICS, Op, Storage
from optrace.trace.model import Change

if TYPE_CHECKING:
    from optrace.trace.values import Values

Array = np.ndarray[Any, Any]
_BATCH_BYTES = 8 << 20


def statistic_of(value: Array, name: str) -> float:
    """One statistic of an array, computed in float64. Of complex values the magnitudes are taken."""
    return float(statistic_of_rows(value.reshape(1, -1), name)[0])


def statistic_of_rows(rows: Array, name: str) -> Array:
    """One statistic of each row [n, elements] → [n] float64; nan for the mean, min, max of no elements."""
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN warns when it is converted
        work = np.abs(rows.astype(np.complex128)) if np.iscomplexobj(rows) else rows.astype(np.float64)
    if name == "zeros":
        return np.asarray(np.count_nonzero(work == 0, axis=1), np.float64)
    if name == "nonfinite":
        return np.asarray(np.count_nonzero(~np.isfinite(work), axis=1), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "norm":
            return np.asarray(np.sqrt(np.einsum("ij,ij->i", work, work)))
        if work.shape[1] == 0:
            return np.full(len(work), np.nan)
        found: Array = getattr(work, name)(axis=1)
        return found


def over_run(trace: Values, parameter: int, kind: str, name: str, numbers: Array) -> Array:
    """The statistic just after each of the events `numbers`, which all wrote the value."""
    result = np.full(len(numbers), np.nan)
    if not len(numbers):
        return result
    effects = trace.column("effect")[numbers]
    for effect in np.unique(effects):
        change = trace.effect_by_id(int(effect)).final.get((parameter, kind))
        places = np.flatnonzero(effects == effect)
        if change is None or change.op in (Op.CLEAR, Op.GONE, Op.LOST):
            continue
        result[places] = _same_change(trace, change, name, numbers[places])
    return result


def _same_change(trace: Values, change: Change, name: str, numbers: Array) -> Array:
    """The statistic for events that stored the value in the same way, batch by batch."""
    if change.storage is Storage.ZEROS:
        size = int(np.prod(change.shape, dtype=np.int64))
        empty = float("nan") if size == 0 and name in ("mean", "min", "max") else 0.0
        return np.full(len(numbers), float(size) if name == "zeros" else empty)
    if change.storage is Storage.SAMPLE:
        place = STATISTICS.index(name)
        return np.array([np.frombuffer(trace.bytes_of(int(n), change)[:48], "<f8")[place] for n in numbers])
    if change.storage not in (Storage.FULL, Storage.SPARSE):
        return np.full(len(numbers), np.nan)
    result = np.empty(len(numbers))
    step = max(1, _BATCH_BYTES // max(change.nbytes, 1))
    for start in range(0, len(numbers), step):
        batch = numbers[start : start + step]
        data = [trace.bytes_of(int(n), change) for n in batch]
        if change.storage is Storage.SPARSE:
            values = [decode_sparse(piece, change.dtype, change.shape)[1] for piece in data]
            result[start : start + len(batch)] = [statistic_of(value, name) for value in values]
        else:
            rows = decode(b"".join(data), change.dtype, (len(batch), *change.shape))
            result[start : start + len(batch)] = statistic_of_rows(rows.reshape(len(batch), -1), name)
    return result
