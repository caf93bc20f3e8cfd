"""All that is asked of a trace, in one hand: readings, owners, effects, contributions and sentences."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from optrace.trace.format import Op
from optrace.trace.model import Parameter
from optrace.tui.core.effects import Effects
from optrace.tui.core.numerals import short
from optrace.tui.core.owners import Owners
from optrace.tui.core.parts import Parts
from optrace.tui.core.readings import Readings, Stats
from optrace.tui.core.story import Story
from optrace.tui.core.table import Table
from optrace.tui.core.timeline import Timeline

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


class Machine:
    """What the panes draw from. One for each trace."""

    def __init__(self, trace: Trace, on_ready: Callable[[], None] | None = None, before: Machine | None = None) -> None:
        """`before` is that of the same trace when it was shorter: what it has read is not read again."""
        self.trace = trace
        self.readings: Readings = Readings(trace, on_ready, before.readings if before is not None else None)
        self.owners = Owners(trace)
        self.effects = Effects(trace)
        self.parts = Parts(trace, self.readings, self.owners)
        self.story = Story(trace, self.readings, self.owners, self.effects, self.parts)
        self.table = Table(trace, self.readings, self.effects, self.parts)
        self.timeline = Timeline(trace, self.owners, self.effects)

    def prepare(self) -> None:
        """Do beforehand, in a thread, what would hold up a key: ledger, arithmetic, what each kind of event did."""
        self.parts.prepare()
        import_module("optrace.arithmetic.rules").names()  # which imports them all
        import_module("optrace.arithmetic.explain")
        effects, first = np.unique(self.trace.column("effect"), return_index=True)
        for effect, seq in list(zip(effects.tolist(), first.tolist(), strict=True))[:128]:
            if effect >= 0:
                changed = self.effects.of(seq).changes
                for number, kind in {kind: (number, kind) for number, kind in changed}.values():
                    self.readings.last(self.trace.parameters.by_id(number), kind, seq)

    def close(self) -> None:
        """Stop the worker and let go of the files."""
        self.readings.close()
        self.trace.close()

    def kinds(self, parameter: Parameter) -> list[str]:
        """The values of a parameter that were ever recorded."""
        return self.trace.kinds(parameter)

    def norm(self, parameter: Parameter, kind: str, seq: int) -> str:
        """A value's norm as it is written, `…` while it is read; or why there is none."""
        stats = self.readings.stats(parameter, kind, seq)
        if isinstance(stats, Stats):
            return ("≈" if self.readings.sampled(parameter, kind, seq) else "") + short(stats.norm)
        if stats is not None:
            return "…"
        last = self.readings.last(parameter, kind, seq)
        return "none" if last is None or last[1].op in (Op.CLEAR, Op.GONE) else "not kept"
