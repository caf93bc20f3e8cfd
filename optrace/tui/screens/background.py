"""What is read in threads without anybody asking: the ledger, the checks, the charts."""

from __future__ import annotations

import math
import threading
import time

from optrace.errors import OptraceError
from optrace.trace.reader import load
from optrace.tui.core import findings
from optrace.tui.core.canvas import Series
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Span
from optrace.tui.core.tabs import history
from optrace.tui.screens.panes import Panes

LATER = 0.1
"""Seconds from the start of the screen until something is read in the background."""


class Background(Panes):
    """A part of the main screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._stop_history: threading.Event | None = None
        self._wanted: history.Wanted | None = None
        self._next_check = 0.0

    def redraw(self) -> None:
        super().redraw()
        self.want_history()

    def start_background(self) -> None:
        """A little later, so that nothing shares the processor with drawing the first screen."""
        self.set_timer(LATER, self._check if self.session.machine.parts.ready else self._start_ledger)

    def _start_ledger(self) -> None:
        self.run_worker(self._open_ledger, thread=True, group="ledger", exit_on_error=False)

    def _open_ledger(self) -> None:
        try:
            self.session.machine.prepare()
        except (OptraceError, OSError) as error:
            self.from_thread(self.keybar.say, [Span(str(error), "bad")])
        self.from_thread(self._ledger_open)

    def _ledger_open(self) -> None:
        self.redraw()
        self._check()

    # Checks

    def _check(self) -> None:
        self._next_check = math.inf  # until these are done
        self.run_worker(self._find, thread=True, group="findings", exclusive=True, exit_on_error=False)

    def _find(self) -> None:
        began = time.thread_time()
        try:
            if self.session.trace.complete:
                several = len(self.session.whole.processes) > 1
                found = findings.find(self.session.trace, self.session.whole if several else None)
            else:  # one of its own: the screen's grows while this looks at it
                with load(self.session.trace.path) as trace:
                    found = findings.find(trace)
        except (OptraceError, OSError) as error:
            found = findings.Findings(failure=str(error))
        except Exception as error:
            found = findings.Findings(failure=f"{type(error).__name__}: {error}")
        self.from_thread(self._found, found, time.thread_time() - began)

    def _found(self, found: findings.Findings, worked: float) -> None:
        self._next_check = time.monotonic() + max(5.0, 20 * worked)  # of a trace that grows, the whole is checked anew
        self.session.findings = found
        self.redraw()

    # Charts

    def want_history(self) -> None:
        """Read what the chart needs, unless it is there or on its way."""
        want = self.inspector.wanted()
        if want is None or want == self._wanted or want in self.inspector.series:
            return
        if self._stop_history is not None:
            self._stop_history.set()
        stop = self._stop_history = threading.Event()
        self._wanted = want

        def report(series: tuple[Series, ...], done: float) -> bool:
            self.from_thread(self._read, want, series, done)
            return not stop.is_set()

        def work() -> None:
            try:
                series = history.collect(self.session.machine, want, report)
            except (OptraceError, OSError) as error:
                self.from_thread(self.keybar.say, [Span(str(error), "bad")])
                series = ()
            if series is not None:
                self.from_thread(self._read, want, series, 1.0)

        self.run_worker(work, thread=True, group="history", exit_on_error=False)

    def _read(self, want: history.Wanted, series: tuple[Series, ...], done: float) -> None:
        known = self.inspector.series
        known[want] = (series, done)
        while len(known) > 16:
            known.pop(next(iter(known)))
        if want == self._wanted:
            if done >= 1:
                self._wanted = None
            self.inspector.show()
        elif done < 1:
            known.pop(want, None)
