"""`trace.ledger`: the account of any parameter at any position."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.ledger.account import Account, Adjustment, Contribution, Lazy, Origin, Use
from optrace.ledger.cohorts import Cohort, Cohorts
from optrace.ledger.entries import Entry
from optrace.ledger.history import History
from optrace.trace.format import KIND_CODES, Flag
from optrace.trace.model import Parameter, Position

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

    Array = np.ndarray[Any, Any]

_ORIGINS: dict[int, Origin] = {Entry.DEPOSIT: "backward", Entry.SET: "by hand", Entry.FOUND: "found"}
_ADJUSTMENTS = 64
_MUTATION = KIND_CODES["mutation"]


class Ledger:
    """The accounts of a trace as far as it was written when this was made."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._count = len(trace.records)
        self._cohorts = Cohorts(trace)
        self._histories: dict[int, History] = {}

    def history(self, parameter: Parameter) -> History:
        """Every entry of a parameter's account."""
        return self._history(self._cohorts.of(parameter.id))

    def account(self, parameter: Parameter, seq: int, element: tuple[int, ...] | None = None) -> Account:
        """The account just after event `seq`."""
        if element is not None and not _fits(element, parameter.shape):
            raise LookupFailed(f"{parameter.name} of shape {parameter.shape} has no element {element}")
        history = self.history(parameter)
        reach = history.reach(seq)
        opened = history.opened(reach)
        inside = history.among(history.deposits, max(opened, 0), reach)
        applies = history.among(history.applies, max(opened, 0), reach)
        stale = int(np.searchsorted(inside, applies[-1])) if len(applies) else 0
        by_hand = self._updates_by_hand(parameter)
        by_hand = by_hand[by_hand <= seq]
        if len(by_hand):
            stale = max(stale, int(np.searchsorted(history.seq[inside], by_hand[-1])))
        alters = history.among(history.alters, max(opened, 0), reach)[-_ADJUSTMENTS:]
        make = _Maker(self._trace, history, parameter, seq, reach, by_hand)
        zeroed = opened >= 0 and history.code[opened] == Entry.ZERO
        return Account(
            parameter=parameter,
            seq=seq,
            position=self._position(seq),
            present=bool(len(inside)) or bool(zeroed),
            unrecorded=opened >= 0 and bool(history.code[opened] == Entry.LOST and history.seq[opened] == seq),
            inside=Lazy(inside, make),
            stale=stale,
            adjustments=tuple(map(make.adjustment, alters.tolist())),
            past=Lazy(history.among(history.deposits, 0, max(opened, 0)), make),
            element=element,
            _gradient=lambda: kept(self._trace, parameter, seq, late=True),
        )

    def _updates_by_hand(self, parameter: Parameter) -> Array:
        """Events by which a parameter that no optimizer holds was changed by hand: whoever trains so steps by them."""
        if self._cohorts.of(parameter.id).memberships:
            return np.empty(0, np.int64)
        written = self._trace.writes(parameter)
        records = self._trace.records[written]
        found: Array = written[(records["kind"] == _MUTATION) & (records["flags"] & Flag.BY_HAND != 0)]
        return found

    def _history(self, cohort: Cohort) -> History:
        found = self._histories.get(cohort.index)
        if found is None:
            found = self._histories[cohort.index] = History(self._trace, self._cohorts, cohort, self._count)
        return found

    def _position(self, seq: int) -> Position:
        return position(self._trace, seq)


class _Maker:
    """Makes the contributions of one account from entries of its history."""

    def __init__(
        self, trace: Trace, history: History, parameter: Parameter, seq: int, reach: int, by_hand: Array
    ) -> None:
        self._trace = trace
        self._history = history
        self._parameter = parameter
        self._seq = seq
        self._reach = reach
        self._by_hand = by_hand

    def __call__(self, entry: int) -> Contribution:
        history, trace = self._history, self._trace
        end = min(history.ended(entry), self._reach)
        removed = end < self._reach
        source = int(history.source[entry])
        applied = history.among(history.applies, entry, end)
        removed_by = int(history.seq[end]) if removed else None
        updates = self._by_hand[np.searchsorted(self._by_hand, int(history.seq[entry]), "right") :]
        updates = updates if removed_by is None else updates[updates < removed_by]
        uses = sorted([*history.source[applied].tolist(), *updates.tolist()])
        return Contribution(
            seq=source,
            position=position(trace, source),
            site=trace.stack(int(trace.records[source]["stack"]))[0],
            origin=_ORIGINS[int(history.code[entry])],
            applied=_steps(history, applied) + len(updates),
            last_use=uses[-1] if uses else None,
            altered=len(history.among(history.alters, entry, end)),
            removed=removed_by,
            removed_at=None if removed_by is None else position(trace, removed_by),
            replaced=removed and bool(history.code[end] == Entry.SET),
            unrecorded=removed and bool(history.code[end] == Entry.LOST),
            here=self._seq in (source, int(history.seq[entry])),
            _value=self._difference(entry),
            _uses=lambda: tuple(map(self._use, uses)),
        )

    def adjustment(self, entry: int) -> Adjustment:
        """What an ALTER entry did."""
        seq = int(self._history.seq[entry])
        event = self._trace.events[seq]
        return Adjustment(seq, event.position, event.kind, event.site, lambda: self._around(entry))

    def _use(self, seq: int) -> Use:
        event = self._trace.events[seq]
        return Use(event.seq, event.position, event.optimizer, event.site)

    def _difference(self, entry: int) -> Callable[[], Array | None]:
        def value() -> Array | None:
            before, after = self._around(entry)
            if before is None or after is None:
                return None
            return after - before if before.shape == after.shape else None

        return value

    def _around(self, entry: int) -> tuple[Array | None, Array | None]:
        """The gradient before and after an entry, float64."""
        history = self._history
        seq = int(history.seq[entry])
        if history.code[entry] == Entry.FOUND:
            found = kept(self._trace, self._parameter, seq, late=False)
            if found is not None:
                return np.zeros_like(found), found
        late = not _early(self._trace, self._parameter, seq)
        after = kept(self._trace, self._parameter, seq, late)
        if after is None:
            return None, None
        opened = history.opened(entry)
        empty = opened == entry or not len(history.among(history.deposits, max(opened, 0), entry))
        if empty or history.code[entry] == Entry.SET:
            return np.zeros_like(after), after
        if late:
            return kept(self._trace, self._parameter, seq, late=False), after
        return kept(self._trace, self._parameter, seq - 1, late=True), after


def kept(trace: Trace, parameter: Parameter, seq: int, late: bool) -> Array | None:
    """The gradient after event `seq` (`late`) or as its call found it, float64; the sample where only that was kept."""
    if seq < 0:
        return None
    try:
        found = trace.value(parameter, "grad", seq) if late else trace.before(parameter, "grad", seq)
    except LookupFailed:
        sample = trace.sample(parameter, "grad", seq if late else max(seq - 1, 0))
        found = None if sample is None else sample.values
    if found is None:
        return None
    return found.astype(np.complex128 if np.iscomplexobj(found) else np.float64)


def position(trace: Trace, seq: int) -> Position:
    """The position of an event, without reading the rest of it."""
    record = trace.records[seq]
    return Position(int(record["iteration"]), int(record["index"]))


def _early(trace: Trace, parameter: Parameter, seq: int) -> bool:
    """The event's own work left the gradient alone: what it carries happened before its call."""
    return not any(c.parameter == parameter.id and c.kind == "grad" and not c.before for c in trace.effect(seq))


def _steps(history: History, applied: Array) -> int:
    """How many steps there are among APPLY entries; one step's closure may apply several times."""
    if not len(applied):
        return 0
    sources = history.source[applied]
    return int(np.count_nonzero(np.diff(sources))) + 1


def _fits(element: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(element) == len(shape) and all(-n <= i < n for i, n in zip(element, shape, strict=True))
