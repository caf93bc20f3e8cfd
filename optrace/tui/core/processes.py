"""One event on every process of a run: where each stands, and whether their values agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optrace.checks.replicas.compare import Spot, difference, elements
from optrace.errors import LookupFailed

if TYPE_CHECKING:
    from optrace.trace.model import Event, Parameter
    from optrace.trace.reader import Trace

KINDS = ("param", "grad")


@dataclass(frozen=True)
class Row:
    """One value of one parameter, on every process."""

    name: str
    kind: str
    norms: tuple[float | None, ...]
    """By process; None where there is none, nan where it was not kept."""
    verdict: str
    """`equal`, `differ by up to 0.0123`, `shards`, or what hinders telling."""


@dataclass(frozen=True)
class Beside:
    """The same position on every process."""

    names: tuple[str, ...]
    events: tuple[Event | None, ...]
    rows: tuple[Row, ...]


def same_place(trace: Trace, iteration: int, index: int) -> int | None:
    """The number of the event at a position; None where the trace has none there."""
    if not 0 <= iteration < len(trace.iterations):
        return None
    first, stop = trace.iterations.bounds(iteration)
    return first + index if index < stop - first else None


def beside(
    traces: Mapping[str, Trace],
    iteration: int,
    index: int,
    names: Sequence[str],
    progress: Callable[[int, int], bool],
) -> Beside | None:
    """Read it. Slow for many parameters: for a worker. None where `progress` (False) stops it."""
    places = {name: same_place(trace, iteration, index) for name, trace in traces.items()}
    rows = []
    for number, name in enumerate(names):
        if not progress(number, len(names)):
            return None
        for kind in KINDS:
            row = _row(traces, places, name, kind)
            if row is not None:
                rows.append(row)
    events = tuple(None if (at := places[name]) is None else trace.events[at] for name, trace in traces.items())
    return Beside(tuple(traces), events, tuple(rows))


def _row(traces: Mapping[str, Trace], places: Mapping[str, int | None], name: str, kind: str) -> Row | None:
    spots = [_spot(trace, name, kind, places[process]) for process, trace in traces.items()]
    norms = tuple(None if spot is None else _norm(spot) for spot in spots)
    if all(norm is None for norm in norms):
        return None
    known = [spot for spot in spots if spot is not None]
    return Row(name, kind, norms, _verdict(known) if len(known) == len(spots) else "not on all")


def _spot(trace: Trace, name: str, kind: str, at: int | None) -> Spot | None:
    parameter: Parameter | None = trace.parameters.find(name)
    return None if at is None or parameter is None else Spot(trace, parameter, kind, at)


def _norm(spot: Spot) -> float | None:
    if spot.trace.exactness(spot.parameter, spot.kind, spot.seq) is None:
        return None
    try:
        written = spot.trace.last_write(spot.parameter, spot.kind, spot.seq)
        at = spot.seq if written is None else written[0]
        found = spot.trace.statistics(spot.parameter, spot.kind, "norm", at, at + 1)[1]
    except LookupFailed:
        return float("nan")
    return float(found[0]) if len(found) else float("nan")


def _verdict(spots: Sequence[Spot]) -> str:
    if any(spot.parameter.placement is not None and spot.parameter.placement.kind == "shard" for spot in spots):
        return "shards"
    if any(spot.parameter.shape != spots[0].parameter.shape for spot in spots):
        return "other shapes"
    found = [elements(spot) for spot in spots]
    if any(kept is None for kept in found):
        return "not kept"
    apart = [d for spot in spots[1:] if (d := difference(spots[0], spot)) is not None]
    sampled = any(kept is not None and kept[1] is not None for kept in found)
    if not apart:
        return "equal, as sampled" if sampled else "equal"
    largest = max(apart, key=lambda d: d.largest)
    if largest.largest != largest.largest:
        return "not on all"
    return f"differ by up to {largest.largest:.3g}{', as sampled' if sampled else ''}"
