"""Where NaN and Inf came from: one origin per run, shared by the three rules about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from optrace.checks.effects import effects
from optrace.checks.values import all_finite, elements, finite
from optrace.ledger.view import BACKWARD, STEP
from optrace.trace.format import KIND_CODES, Flag, Op

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run

Array = np.ndarray[Any, Any]
_ZERO_GRAD, _GAP = KIND_CODES["zero_grad"], KIND_CODES["gap"]
_BEFORE = 5


@dataclass(frozen=True)
class Origin:
    """The first thing that was not finite, and what followed from it."""

    code: str
    """`OT401` the loss, `OT402` a gradient, `OT403` a parameter."""
    seq: int
    parameters: tuple[int, ...]
    """Whose gradient or value was not finite there; for a loss, those that it reached."""
    losses: tuple[float, ...] = ()
    """The losses before it, oldest first."""
    chain: dict[str, str] = field(default_factory=dict)
    """What became non-finite, in order: a description, and its position."""
    bad_losses: int = 0
    last: int = -1
    found: bool = False
    """A parameter was so already when it was first seen."""


class Losses:
    """Non-finite losses that mattered: a step applied what they gave."""

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.count = 0
        self._pending: int | None = None
        self._fed = -1

    def feed(self, piece: Piece, cleared: Array) -> None:
        """Take in a piece; `cleared` [effects + 1] says which effects empty gradients."""
        view = piece.view
        if view.first <= self._fed:
            return
        self._fed = view.first
        loss = view.column("loss")
        # A scaled loss may overflow while its gradients, which do not depend on it, are finite.
        harmless = (view.flags & Flag.SCALED != 0) & np.isinf(loss)
        bad = (view.kind == BACKWARD) & (view.flags & Flag.LOSS != 0) & ~np.isfinite(loss) & ~harmless
        if not bad.any() and self._pending is None:
            return
        step = (view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0)
        skip = (view.kind == STEP) & (view.flags & Flag.SKIPPED != 0)
        empties = ((view.kind == _ZERO_GRAD) & cleared[view.effect]) | (view.kind == _GAP)
        ends = np.flatnonzero(step | skip | empties)
        if self._pending is not None and len(ends):
            if step[ends[0]]:
                self._add(np.array([self._pending]))
            self._pending = None
        places = np.flatnonzero(bad)
        following = np.searchsorted(ends, places)
        open_ended = following == len(ends)
        mattered = np.zeros(len(places), bool)
        mattered[~open_ended] = step[ends[following[~open_ended]]]
        self._add(places[mattered] + view.first)
        if open_ended.any() and self._pending is None:
            self._pending = view.first + int(places[open_ended][0])

    def _add(self, seqs: Array) -> None:
        if len(seqs):
            self.first = int(seqs[0]) if self.first < 0 else self.first
            self.last = int(seqs[-1])
            self.count += len(seqs)


class Search:
    """Follows the losses; after the last piece, finds the origin."""

    def __init__(self, run: Run) -> None:
        self._looked_at = ref(run)  # it is found by its run: with a reference back, neither would ever be let go
        self._losses = Losses()
        self._found: Origin | None = None
        self._searched = False

    @property
    def _run(self) -> Run:
        run = self._looked_at()
        assert run is not None
        return run

    def feed(self, piece: Piece) -> None:
        self._losses.feed(piece, effects(self._run).empties_any)

    def origin(self) -> Origin | None:
        """None where everything that mattered was finite."""
        if not self._searched:
            self._searched = True
            self._found = self._search()
        return self._found

    def _search(self) -> Origin | None:
        run = self._run
        if not run.count:
            return None
        bad = self._bad_parameters()
        loss = self._losses.first
        if loss < 0 and not bad:
            return None
        moment, parameters = self._first_bad_write(bad)
        there = [parameter for parameter in parameters if self._was_there(parameter, moment)]
        gradient, reached = self._bad_gradient(moment, loss)
        rank_there = -1 if there else 2
        found = [
            (number, rank, code)
            for number, rank, code in ((loss, 0, "OT401"), (gradient, 1, "OT402"), (moment, rank_there, "OT403"))
            if number >= 0
        ]
        seq, _, code = min(found)
        stages = sorted([(loss, 0, "loss"), (gradient, 1, "gradient"), (moment, 2, "parameter")])
        chain = {word: str(run.event(number).position) for number, _, word in stages if number >= seq}
        mine = (there or parameters) if code == "OT403" else reached or parameters
        losses = self._losses_before(seq)
        last, found_there = max(seq, self._losses.last), bool(there) and code == "OT403"
        return Origin(code, seq, tuple(mine), losses, chain, self._losses.count, last, found_there)

    def _was_there(self, parameter: int, seq: int) -> bool:
        """Whether a parameter was not finite already when event `seq`, at which it was first seen, began."""
        trace = self._run.trace
        first = (change for change in trace.effect(seq) if (change.parameter, change.kind) == (parameter, "param"))
        return any((change.before or change.op is Op.INIT) and not finite(trace, seq, change) for change in first)

    def _bad_parameters(self) -> list[int]:
        """Parameters that are not finite at the end of the run."""
        trace = self._run.trace
        return [
            parameter
            for (parameter, kind), (seq, change) in trace.written(None).items()
            if kind == "param" and not finite(trace, seq, change)
        ]

    def _first_bad_write(self, bad: list[int]) -> tuple[int, list[int]]:
        """When the first of them became so; what is NaN stays NaN, so it is found by halving."""
        trace = self._run.trace
        first: dict[int, int] = {}
        for parameter in bad:
            writes = trace.writes(trace.parameters.by_id(parameter), "param")
            writes = writes[~np.isin(writes, self._run.gaps)]
            low, high = 0, len(writes) - 1
            while low < high:
                middle = (low + high) // 2
                values = elements(self._run, parameter, "param", int(writes[middle]))
                if values is None or all_finite(values):
                    low = middle + 1
                else:
                    high = middle
            first[parameter] = int(writes[low])
        if not first:
            return -1, []
        moment = min(first.values())
        return moment, sorted(p for p, seq in first.items() if seq == moment)

    def _bad_gradient(self, moment: int, loss: int) -> tuple[int, list[int]]:
        """The first backward, in the round before the harm was done, that brought a non-finite gradient."""
        until = max(moment, loss) if moment < 0 or loss < 0 else min(moment, loss)
        known = effects(self._run)
        rounds = 0
        found: tuple[int, list[int]] = (-1, [])
        for number in range(until, -1, -1):
            event = self._run.event(number)
            if event.kind == "gap":
                break
            rounds += event.kind == "step" and number < until
            if rounds > 1:
                break
            if event.kind == "backward":
                brought = known.deposits.get(event.effect, {})
                wrong = [p for p, change in brought.items() if not finite(self._run.trace, number, change)]
                if wrong:
                    found = (number, sorted(wrong))
        return found

    def _losses_before(self, seq: int) -> tuple[float, ...]:
        """The last losses before an event, oldest first."""
        found: list[float] = []
        for number in range(seq - 1, max(seq - 200, -1), -1):
            event = self._run.event(number)
            if event.kind == "backward" and event.loss is not None:
                found.append(event.loss)
                if len(found) == _BEFORE:
                    break
        return tuple(reversed(found))


_of_run: WeakKeyDictionary[Run, Search] = WeakKeyDictionary()


def search(run: Run) -> Search:
    """The run's, shared by the rules."""
    known = _of_run.get(run)
    if known is None:
        known = _of_run[run] = Search(run)
    return known


def evidence(run: Run, origin: Origin) -> dict[str, Any]:
    """The numbers that all three rules give."""
    return {
        "chain": [f"{what} at {position}" for what, position in origin.chain.items()],
        "losses_before": list(origin.losses),
        "parameters_reached": list(run.names(origin.parameters)),
        "non_finite_losses": origin.bad_losses,
    }


def ran_away(origin: Origin) -> bool:
    """Whether the losses before it were growing out of all bounds."""
    known = [abs(loss) for loss in origin.losses if np.isfinite(loss)]
    return len(known) >= 3 and known[-1] > 1e6 and known == sorted(known)
