"""The numbers that a condition speaks of, for a stretch of events at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optrace.trace.format import KINDS, Flag, Op
from optrace.trace.model import Parameter
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import real
from optrace.tui.core.readings import Stats

Array = np.ndarray[Any, Any]
_FLAGS = {"failed": Flag.FAILED, "skipped": Flag.SKIPPED, "by_hand": Flag.BY_HAND}
_COLUMNS = {"iteration", "index", "depth", "duration", "live_graphs"}


class Columns:
    """Columns of events `first` to before `stop`, each made when it is first asked for."""

    def __init__(self, machine: Machine, first: int, stop: int, findings: frozenset[int] = frozenset()) -> None:
        self._machine = machine
        self.trace = machine.trace
        self.first, self.stop = first, stop
        self._findings = findings
        self._known: dict[Any, Array] = {}

    def __len__(self) -> int:
        return self.stop - self.first

    def event(self, name: str) -> Array:
        """A column by its name in conditions."""
        if name not in self._known:
            self._known[name] = self._event(name)
        return self._known[name]

    def _raw(self, name: str) -> Array:
        column: Array = self.trace.column(name)
        return column[self.first : self.stop]

    def _event(self, name: str) -> Array:
        if name in _COLUMNS:  # signed, so that a difference may be negative
            raw = self._raw(name)
            return raw.astype(np.int64) if raw.dtype.kind == "u" else raw
        if name in _FLAGS:
            raised: Array = (self._raw("flags") & int(_FLAGS[name])) != 0
            return raised
        if name == "seq":
            return np.arange(self.first, self.stop)
        if name == "kind":
            return np.array(KINDS)[self._raw("kind")]
        if name == "time":
            return self._raw("time") * 1e-9
        if name == "loss":
            return np.where((self._raw("flags") & Flag.LOSS) != 0, self._raw("loss"), np.nan)
        if name == "optimizer":
            optimizers, raw = self.trace.optimizers, self._raw("optimizer")
            names = np.array([optimizer.name for optimizer in optimizers] + [""])
            return names[np.where(raw < 0, -1, np.searchsorted([optimizer.id for optimizer in optimizers], raw))]
        if name == "lr":
            return self._mapped("groups", self._rate)
        if name == "line":
            return self._mapped("stack", self._line)
        if name == "finding":
            return np.array([number in self._findings for number in range(self.first, self.stop)], dtype=bool)
        kinds = {"grad_norm": ("grad",), "param_norm": ("param",), "nonfinite": ("param", "grad")}[name]
        statistic = "nonfinite" if name == "nonfinite" else "norm"
        total = np.zeros(len(self))
        for parameter in self.trace.parameters.values():
            for kind in kinds:
                found = np.nan_to_num(self.statistic(parameter, kind, statistic, 0.0), nan=np.nan)
                total += found if statistic == "nonfinite" else found * found
        return total if statistic == "nonfinite" else np.sqrt(total)

    def absent(self, name: str) -> Array:
        """Where an event has no such number."""
        if name == "loss":
            missing: Array = (self._raw("flags") & Flag.LOSS) == 0
            return missing
        if name == "lr":
            return self._raw("groups") < 0
        return np.zeros(len(self), bool)

    def absent_of(self, parameter: Parameter, name: str) -> Array:
        """Where a parameter has no such number: no gradient, or it was not seen yet."""
        if name in ("stale", "contributions", "changed", "grad_changed"):
            return np.zeros(len(self), bool)
        return ~self._present(parameter, "grad" if name.startswith("grad_") else "param")

    def _present(self, parameter: Parameter, kind: str) -> Array:
        """Where a value exists."""
        key = (parameter.id, kind, "present")
        if key not in self._known:
            writes = self.trace.writes(parameter, kind)
            numbers = writes[np.searchsorted(writes, self.first) : np.searchsorted(writes, self.stop)]
            before = self._machine.readings.last(parameter, kind, self.first - 1)
            start = before is not None and before[1].op not in (Op.CLEAR, Op.GONE, Op.LOST)
            place = np.searchsorted(numbers, np.arange(self.first, self.stop), "right") - 1
            if len(numbers):
                here = ~self._cleared(parameter, kind, numbers)
                self._known[key] = np.where(place >= 0, here[np.maximum(place, 0)], start)
            else:
                self._known[key] = np.full(len(self), start)
        return self._known[key]

    def _mapped(self, column: str, number: Any) -> Array:
        raw = self._raw(column)
        unique, inverse = np.unique(raw, return_inverse=True)
        result: Array = np.array([number(int(value)) for value in unique])[inverse]
        return result

    def _rate(self, version: int) -> float:
        groups = self.trace.groups_by_id(version) if version >= 0 else ()
        rate = groups[0].hyper.get("lr") if groups else None
        found = real(rate)
        return math.nan if found is None else found

    def _line(self, stack: int) -> int:
        site = self.trace.stack(stack)[0]
        return site.line if site is not None else -1

    def statistic(self, parameter: Parameter, kind: str, statistic: str, absent: float = math.nan) -> Array:
        """A statistic of a value after each event; `absent` where there is no value."""
        key = (parameter.id, kind, statistic, absent)
        if key in self._known:
            return self._known[key]
        numbers, values = self.trace.statistics(parameter, kind, statistic, self.first, self.stop)
        result = np.full(len(self), absent)
        before = self._machine.readings.stats(parameter, kind, self.first - 1) if self.first else None
        start = getattr(before, statistic) if isinstance(before, Stats) else absent
        place = np.searchsorted(numbers, np.arange(self.first, self.stop), "right") - 1
        held = place >= 0
        result[~held] = start
        result[held] = values[place[held]]
        if not math.isnan(absent) and len(numbers):
            cleared = self._cleared(parameter, kind, numbers)
            result[held] = np.where(cleared[place[held]], absent, result[held])
        self._known[key] = result
        return result

    def _cleared(self, parameter: Parameter, kind: str, numbers: Array) -> Array:
        """Which writes left nothing behind; a statistic that is nan for another reason stays nan."""
        effects = self.trace.column("effect")[numbers]
        gone = [
            effect
            for effect in np.unique(effects).tolist()
            if self.trace.effect_by_id(effect).final[parameter.id, kind].op in (Op.CLEAR, Op.GONE)
        ]
        return np.isin(effects, gone)

    def parameter(self, parameter: Parameter, name: str) -> Array:
        """A column of one parameter by its name in conditions."""
        key = (parameter.id, name)
        if key not in self._known:
            self._known[key] = self._parameter(parameter, name)
        return self._known[key]

    def _parameter(self, parameter: Parameter, name: str) -> Array:
        if name in ("changed", "grad_changed"):
            result = np.zeros(len(self), bool)
            numbers = self.trace.writes(parameter, "param" if name == "changed" else "grad")
            inside = numbers[np.searchsorted(numbers, self.first) : np.searchsorted(numbers, self.stop)]
            result[inside - self.first] = True
            return result
        if name in ("stale", "contributions"):
            return self._ledger(parameter, name)
        kind = "grad" if name.startswith("grad_") else "param"
        return self.statistic(parameter, kind, name.removeprefix("grad_"))

    def _ledger(self, parameter: Parameter, name: str) -> Array:
        contributions, stale = self._machine.parts.counts(parameter, np.arange(self.first, self.stop))
        return stale if name == "stale" else contributions
