"""Values and their statistics at a position, cached by the event that wrote them.

What is large is computed by a worker: until then it reads as `PENDING`, and `on_ready` is called after.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optrace.errors import LookupFailed, OptraceError
from optrace.trace.format import STATISTICS, Op, Storage
from optrace.trace.model import Change, Parameter
from optrace.tui.core.grid import fitting

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
INLINE = 300_000
"""Bytes up to which a value is measured at once on the screen's thread; other threads can wait."""


class Stats(NamedTuple):
    """Statistics of all elements of a value; nan where one was not taken."""

    norm: float
    mean: float
    min: float
    max: float
    zeros: float
    nonfinite: float


class Pending:
    """Stands for what is still being computed."""

    def __repr__(self) -> str:
        return "…"


PENDING = Pending()


class Readings:
    """Statistics and elements of values, quick to ask for again."""

    def __init__(
        self, trace: Trace, on_ready: Callable[[], None] | None = None, before: Readings | None = None
    ) -> None:
        self._trace = trace
        self._on_ready = on_ready
        self._known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: set[tuple[Any, ...]] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._thread = threading.get_ident()
        if before is not None:  # an event that was recorded stays as it is
            self._thread = before._thread
            with before._lock:
                self._known.update(before._known)

    def close(self) -> None:
        """Stop the worker."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def last(self, parameter: Parameter, kind: str, seq: int) -> tuple[int, Change] | None:
        """The event that last wrote a value at or before `seq`."""
        return self._trace.last_write(parameter, kind, seq) if seq >= 0 else None

    def written(self, parameter: Parameter, kind: str, seq: int) -> tuple[int, Change] | None:
        """The same of a value that is looked at. The last update is of the last write of the parameter that was not
        a keyframe's, which only states again what is there."""
        if kind != "update":
            return self.last(parameter, kind, seq)
        found = self.last(parameter, "param", seq)
        while found is not None and found[1].op is Op.RESTATED:
            found = self.last(parameter, "param", found[0] - 1)
        return found

    def stats(self, parameter: Parameter, kind: str, seq: int) -> Stats | Pending | None:
        """Statistics just after event `seq`; None where there is no value, or it was not kept."""
        found = self.last(parameter, kind, seq)
        return None if found is None else self.stats_of(parameter, kind, *found)

    def stats_of(self, parameter: Parameter, kind: str, seq: int, change: Change) -> Stats | Pending | None:
        """Statistics of what event `seq` wrote."""
        if change.op in (Op.CLEAR, Op.GONE, Op.LOST) or change.storage is Storage.DROPPED:
            return None
        found: Stats | Pending | None = self.compute(
            ("stats", parameter.id, kind, seq), change.nbytes, lambda: self._measure(parameter, kind, seq, change)
        )
        return found

    def ratio(self, parameter: Parameter, seq: int) -> float | Pending | None:
        """‖last update‖ / ‖parameter‖, of the last event at or before `seq` that changed the parameter."""
        found = self.written(parameter, "update", seq)
        if found is None or found[1].op is not Op.CHANGE:
            return None
        result: float | Pending | None = self.compute(
            ("ratio", parameter.id, found[0]), 3 * found[1].nbytes, lambda: self._ratio(parameter, found[0])
        )
        return result

    def sampled(self, parameter: Parameter, kind: str, seq: int) -> bool:
        """Whether only a sample and statistics were kept of the value just after event `seq`."""
        found = self.written(parameter, kind, seq)
        return found is not None and found[1].storage is Storage.SAMPLE

    def kept(self, parameter: Parameter, kind: str, seq: int) -> str | None:
        """How much was kept of the value just after event `seq`, in words; None where it is exact or there is none."""
        found = self.last(parameter, kind, seq)
        return None if found is None else _KEPT.get(self._trace.exactness_of(*found) or "")

    def update(self, parameter: Parameter, seq: int) -> Array | None:
        """What the last change of the parameter at or before `seq` added to it."""
        found = self.written(parameter, "update", seq)
        if found is None or found[1].op is not Op.CHANGE:
            return None
        after = self._trace.value(parameter, "param", found[0])
        before = self.before(parameter, "param", found[0])
        if after is None or before is None or after.shape != before.shape:
            return None
        return wide(after) - wide(before)

    def before(self, parameter: Parameter, kind: str, seq: int) -> Array | None:
        """A value as event `seq` found it."""
        return self._trace.before(parameter, kind, seq)

    def array(self, parameter: Parameter, kind: str, seq: int) -> Array | None:
        """A whole value just after event `seq`, or None where there is none. Raises `LookupFailed` if only sampled."""
        if kind == "update":
            return self.update(parameter, seq)
        if seq < 0 or self.last(parameter, kind, seq) is None:
            return None
        return self._trace.value(parameter, kind, seq)

    def element(self, parameter: Parameter, kind: str, seq: int, place: tuple[int, ...]) -> Any:
        """One element of a value, from the sample where only that was kept; None where it is not known."""
        try:
            value = self.array(parameter, kind, seq)
        except LookupFailed:
            sample = self._trace.sample(parameter, kind, seq) if kind != "update" else None
            if sample is None or fitting(place, parameter.shape) != place:
                return None
            flat = int(np.ravel_multi_index(place, parameter.shape)) if place else 0
            where = np.flatnonzero(sample.indices == flat)
            return sample.values[where[0]] if len(where) else None
        if value is None:
            return None
        if value.shape == ():
            return value[()]
        return (
            value[place]
            if len(place) == value.ndim and all(p < s for p, s in zip(place, value.shape, strict=True))
            else None
        )

    def compute(self, key: tuple[Any, ...], size: int, work: Callable[[], Any]) -> Any:
        """The result of `work`, remembered; done by the worker where `size` bytes would hold up the screen."""
        can_wait = threading.get_ident() != self._thread
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            if key in self._waiting and not can_wait:
                return PENDING
            background = not can_wait and size > INLINE and self._on_ready is not None and not self._closed
            if background:
                self._waiting.add(key)
        if not background:
            return self._keep(key, work())
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "optrace-readings")
        self._pool.submit(self._later, key, work)
        return PENDING

    def _later(self, key: tuple[Any, ...], work: Callable[[], Any]) -> None:
        if self._closed:
            return
        try:
            result = work()
        except OptraceError:
            result = None
        self._keep(key, result)
        if self._on_ready is not None and not self._closed:
            self._on_ready()

    def _keep(self, key: tuple[Any, ...], result: Any) -> Any:
        with self._lock:
            self._known[key] = result
            self._waiting.discard(key)
            while len(self._known) > 20_000:
                self._known.popitem(last=False)
        return result

    def _measure(self, parameter: Parameter, kind: str, seq: int, change: Change) -> Stats | None:
        if change.storage is Storage.SAMPLE:
            sample = self._trace.sample(parameter, kind, seq)
            return None if sample is None else Stats(*(sample.statistics.get(name, math.nan) for name in STATISTICS))
        value = self._trace.value(parameter, kind, seq)
        return None if value is None else measure(value)

    def _ratio(self, parameter: Parameter, seq: int) -> float | None:
        try:
            moved = self.update(parameter, seq)
            whole = self._trace.value(parameter, "param", seq)
        except LookupFailed:
            return self._sampled_ratio(parameter, seq)
        if moved is None or whole is None:
            return None
        size = norm(whole)
        return norm(moved) / size if size else None

    def _sampled_ratio(self, parameter: Parameter, seq: int) -> float | None:
        """Of the elements that were kept; beside a keyframe, one of the two values is whole."""
        after = self._trace.sample(parameter, "param", seq)
        before = self._trace.sample(parameter, "param", seq - 1) if seq else None
        of = after or before
        if of is None or not seq:
            return None
        try:
            new = self._elements(parameter, seq, of.indices) if after is None else after.values
            old = self._elements(parameter, seq - 1, of.indices) if before is None else before.values
        except LookupFailed:
            return None
        if new is None or old is None or len(new) != len(old):
            return None
        size = norm(new)
        return norm(wide(new) - wide(old)) / size if size else None

    def _elements(self, parameter: Parameter, seq: int, indices: Array) -> Array | None:
        """Elements of a value that was kept whole."""
        value = self._trace.value(parameter, "param", seq)
        return None if value is None or value.size <= int(indices.max(initial=-1)) else value.reshape(-1)[indices]


_KEPT = {
    "keyframe": "Keyframe: every element is here, as it was",
    "sampled": "Sampled: statistics and some elements were kept",
    "statistics": "Only statistics were kept",
    "not kept": "Not kept here",
}


def wide(value: Array) -> Array:
    """In float64 (complex128), where small dtypes would round."""
    return value.astype(np.complex128 if np.iscomplexobj(value) else np.float64)


def norm(value: Array) -> float:
    """The Euclidean norm, in float64."""
    work = np.abs(wide(value)).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(work @ work))


def measure(value: Array) -> Stats:
    """All statistics of an array; mean, min and max of nothing are nan."""
    work = np.abs(wide(value)).ravel() if np.iscomplexobj(value) else wide(value).ravel()
    nan = float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.sqrt(work @ work))
        edges = (float(work.mean()), float(work.min()), float(work.max())) if work.size else (nan, nan, nan)
    nonfinite = float(work.size - np.count_nonzero(np.isfinite(work)))
    return Stats(size, *edges, float(work.size - np.count_nonzero(work)), nonfinite)
