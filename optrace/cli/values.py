"""Values and their statistics for the command line, and the numbers themselves with all their digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.format import STATISTICS, Op
from optrace.trace.statistics import over_run, statistic_of

if TYPE_CHECKING:
    from optrace.trace.model import Parameter
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]


def norm_after(trace: Trace, seq: int, parameter: int, kind: str) -> float | None:
    """The norm of a value that event `seq` wrote, just after it; None where it is absent or was not kept."""
    return _known(over_run(trace, parameter, kind, "norm", np.array([seq]))[0], trace, seq, parameter, kind)


def norm_before(trace: Trace, seq: int, parameter: Parameter, kind: str) -> float | None:
    """The norm of a value as event `seq` found it; None where it was absent or was not kept."""
    try:
        found = trace.before(parameter, kind, seq)
    except LookupFailed:
        writes = trace.writes(parameter, kind)
        place = int(np.searchsorted(writes, seq)) - 1
        return norm_after(trace, int(writes[place]), parameter.id, kind) if place >= 0 else None
    return None if found is None else statistic_of(found, "norm")


def summary(trace: Trace, parameter: Parameter, kind: str, seq: int) -> dict[str, float] | None:
    """All statistics of a value just after event `seq`; None where it is absent or was not kept."""
    kept = trace.exactness(parameter, kind, seq)
    if kept is None or kept == "not kept":
        return None
    if kept in ("sampled", "statistics"):
        sample = trace.sample(parameter, kind, seq)
        return sample.statistics if sample is not None else None
    value = trace.value(parameter, kind, seq)
    return None if value is None else {name: statistic_of(value, name) for name in STATISTICS}


def present_kinds(trace: Trace, parameter: Parameter) -> list[str]:
    """`param`, `grad`, then the state entries that were ever recorded."""
    kinds = trace.kinds(parameter)
    return kinds if "grad" in kinds else [*kinds[:1], "grad", *kinds[1:]]


def exact_digits(value: Any) -> str:
    """The shortest text that reads back, in the value's own dtype, as the same number."""
    item = value.item() if isinstance(value, np.generic) else value
    if isinstance(item, (bool, int)):
        return str(item)
    if isinstance(item, complex):
        part = np.float32 if value.dtype == np.complex64 else np.float64
        imaginary = exact_digits(part(item.imag))
        return f"{exact_digits(part(item.real))}{'' if imaginary.startswith('-') else '+'}{imaginary}j"
    real = float(value)
    if not math.isfinite(real):
        return "nan" if math.isnan(real) else "inf" if real > 0 else "-inf"
    of = value.dtype.type
    if of is not np.float64:
        for digits in range(1, 10):
            text = f"{real:.{digits}g}"
            if float(of(float(text))) == real:
                return repr(float(text))
    return repr(real)


def exact_text(array: Array, width: int, most: int | None) -> list[str]:
    """An array's numbers, row by row, at most `most` of them (None for all), saying how many were left out."""
    numbers = array.reshape(-1)
    total = numbers.size
    if most is not None and total > most:
        head = [exact_digits(value) for value in numbers[: most // 2]]
        tail = [exact_digits(value) for value in numbers[total - most // 2 :]]
        left = total - len(head) - len(tail)
        note = f"… {left:,} of {total:,} numbers left out; --all prints them, --json has them too …"
        return [*_wrapped(head, width), note, *_wrapped(tail, width)]
    if array.ndim < 2 or total == 0:
        return _wrapped([exact_digits(value) for value in numbers], width) or ["(no elements)"]
    lines: list[str] = []
    for place in np.ndindex(*array.shape[:-1]):
        row = _wrapped([exact_digits(value) for value in array[place]], width - 2)
        lines.append(f"[{', '.join(map(str, place))}]")
        lines += [f"  {line}" for line in row]
    return lines


def _wrapped(texts: list[str], width: int) -> list[str]:
    """Texts in columns, as many to a line as fit."""
    if not texts:
        return []
    column = max(map(len, texts))
    each = max(1, (width + 2) // (column + 2))
    return ["  ".join(text.rjust(column) for text in texts[i : i + each]) for i in range(0, len(texts), each)]


def _known(value: Any, trace: Trace, seq: int, parameter: int, kind: str) -> float | None:
    norm = float(value)
    if math.isnan(norm):
        change = trace.effect_by_id(int(trace.column("effect")[seq])).final.get((parameter, kind))
        if change is None or change.op in (Op.CLEAR, Op.GONE, Op.LOST) or change.storage.name == "DROPPED":
            return None
    return norm
