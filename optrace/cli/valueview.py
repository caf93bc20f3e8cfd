"""One parameter at one position: what is known of its values, or the numbers themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optrace.cli.text import count, number, printable, shape, table
from optrace.cli.values import exact_digits, exact_text, present_kinds, summary

if TYPE_CHECKING:
    from optrace.trace.model import Parameter
    from optrace.trace.reader import Trace

MANY = 1000
"""Numbers of a value that are printed without asking."""
_COLUMNS = ("norm", "mean", "min", "max", "zeros", "nonfinite")


def parameter_lines(trace: Trace, parameter: Parameter, seq: int) -> list[str]:
    """Statistics of all values of a parameter just after an event."""
    rows = [["value", *_COLUMNS, ""]]
    for kind in present_kinds(trace, parameter):
        kept = trace.exactness(parameter, kind, seq)
        found = summary(trace, parameter, kind, seq)
        if found is None:
            rows.append([printable(kind), *["-"] * len(_COLUMNS), "none" if kept is None else kept])
            continue
        numbers = [number(found[name]) if name in found else "-" for name in _COLUMNS]
        rows.append([printable(kind), *numbers, "" if kept == "exact" else str(kept)])
    return [_title(trace, parameter, seq), *table(rows, right=range(1, 7))]


def parameter_object(trace: Trace, parameter: Parameter, seq: int) -> dict[str, Any]:
    """The same for programs."""
    return {
        "parameter": parameter.name,
        "names": list(parameter.names),
        "position": str(trace.events[seq].position),
        "dtype": parameter.dtype,
        "shape": list(parameter.shape),
        "values": {
            kind: None
            if (found := summary(trace, parameter, kind, seq)) is None
            else {"kept": trace.exactness(parameter, kind, seq), **dict.fromkeys(_COLUMNS), **found}
            for kind in present_kinds(trace, parameter)
        },
    }


def value_lines(trace: Trace, parameter: Parameter, kind: str, seq: int, width: int, everything: bool) -> list[str]:
    """The numbers of one value."""
    title = f"{_title(trace, parameter, seq)}: {printable(kind)}"
    sample = trace.sample(parameter, kind, seq)
    if sample is not None:
        facts = ", ".join(f"{name} {number(value)}" for name, value in sample.statistics.items())
        lacking = [name for name in _COLUMNS if name not in sample.statistics]
        facts += f" ({', '.join(lacking)} not taken here)" if lacking else ""
        pairs = [[f"[{int(i)}]", exact_digits(v)] for i, v in zip(sample.indices, sample.values, strict=True)]
        kept = count(len(pairs), "sampled element")
        return [title, f"not kept whole: {kept}; {facts}", *table(pairs, right=(0, 1))]
    value = trace.value(parameter, kind, seq)
    if value is None:
        return [title, "None"]
    return [f"{title}, {value.dtype} {shape(value.shape)}", *exact_text(value, width, None if everything else MANY)]


def value_object(trace: Trace, parameter: Parameter, kind: str, seq: int) -> dict[str, Any]:
    """The same for programs: `data` nested like the tensor; `sample` instead, where it was not kept whole."""
    found: dict[str, Any] = {
        "parameter": parameter.name,
        "value": kind,
        "position": str(trace.events[seq].position),
        "dtype": None,
        "shape": None,
        "data": None,
    }
    sample = trace.sample(parameter, kind, seq)
    if sample is not None:
        facts = {**dict.fromkeys(_COLUMNS), **sample.statistics}  # null: not taken
        elements = [[int(i), v.item()] for i, v in zip(sample.indices, sample.values, strict=True)]
        return {**found, "dtype": str(sample.values.dtype), "sample": elements, "statistics": facts}
    value = trace.value(parameter, kind, seq)
    if value is None:
        return found
    return {**found, "dtype": str(value.dtype), "shape": list(value.shape), "data": value.tolist()}


def _title(trace: Trace, parameter: Parameter, seq: int) -> str:
    event = trace.events[seq]
    what = f"{parameter.dtype} {shape(parameter.shape)}"
    return f"{printable(parameter.name)} ({what}) just after {event.position} {event.kind}"
