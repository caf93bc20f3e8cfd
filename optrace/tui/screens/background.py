"""What takes time: searches, charts, checks, sorting, following, playing. All in threads or on timers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.screen import Screen
from textual.timer import Timer

from optrace.errors import OptraceError
from optrace.trace.reader import load
from optrace.tui.core import findings
from optrace.tui.core.canvas import Series
from optrace.tui.core.conditions import Condition, Progress, search
from optrace.tui.core.spans import Span
from optrace.tui.core.table import SORT_NAMES
from optrace.tui.core.tabs import history
from optrace.tui.screens.asking import keys
from optrace.tui.screens.entries import COMPARED, compare_entries, compared
from optrace.tui.screens.listing import Entries, Listing

if TYPE_CHECKING:
    from optrace.tui.core.machine import Machine
    from optrace.tui.core.session import Session
    from optrace.tui.widgets.inspector import InspectorPane
    from optrace.tui.widgets.keybar import KeyBar

POLL = 0.25
"""Seconds between two looks at a trace that is still being recorded, at the least."""
_READING = ("ledger", "search", "history", "findings")
"""Workers that may be reading the session's trace."""
Stamp = tuple[tuple[str, int, int], ...]


class Background(Screen[None]):
    """Mixed into the main screen."""

    session: Session
    inspector: InspectorPane
    keybar: KeyBar

    def __init__(self) -> None:
        super().__init__()
        self._stop: threading.Event | None = None
        self._stop_history: threading.Event | None = None
        self._wanted: history.Wanted | None = None
        self._timer: Timer | None = None
        self._next_look = 0.0
        self._looking = False
        self._seen: Stamp = ()
        self._newer: Machine | None = None
        self._next_check = 0.0
        self.pace = 4.0

    def redraw(self) -> None:
        raise NotImplementedError

    def start_background(self) -> None:
        """After the first screen has been drawn."""
        if self.session.machine.parts.ready:
            self.call_after_refresh(self._check)
        else:
            self.call_after_refresh(self._start_ledger)
        if not self.session.trace.complete:
            self.set_interval(POLL, self._grow)

    def _from_thread(self, work: Any, *arguments: Any) -> None:
        """Have the screen's thread do something, without waiting for it."""
        if self.is_attached:
            self.app.call_later_from_thread(work, *arguments)  # type: ignore[attr-defined]

    def _start_ledger(self) -> None:
        self.run_worker(self._open_ledger, thread=True, group="ledger", exit_on_error=False)

    def _open_ledger(self) -> None:
        try:
            self.session.machine.prepare()
        except (OptraceError, OSError) as error:
            self._from_thread(self.keybar.say, [Span(str(error), "bad")])
        self._from_thread(self._ledger_open)

    def _ledger_open(self) -> None:
        self.redraw()
        self._check()

    # Checks

    def _check(self) -> None:
        self._next_check = time.monotonic() + 5
        self.run_worker(self._find, thread=True, group="findings", exclusive=True, exit_on_error=False)

    def _find(self) -> None:
        try:
            if self.session.trace.complete:
                found = findings.find(self.session.trace)
            else:  # one of its own: the screen's grows while this looks at it
                with load(self.session.trace.path) as trace:
                    found = findings.find(trace)
        except (OptraceError, OSError) as error:
            found = findings.Findings(failure=str(error))
        except Exception as error:
            found = findings.Findings(failure=f"{type(error).__name__}: {error}")
        self._from_thread(self._found, found)

    def _found(self, found: findings.Findings) -> None:
        self.session.findings = found
        self.redraw()

    # Searching

    @property
    def running(self) -> bool:
        """A search or sort is under way."""
        return self._stop is not None

    def stop_search(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def run_to(self, condition: Condition, forward: bool) -> None:
        """Look for the next event where the condition holds."""
        self.stop_search()
        stop = self._stop = threading.Event()
        seen = frozenset(self.session.findings.numbers)
        start = self.session.seq
        self._say_progress(stop, f"looking for {condition}", 0.0)

        def progress(so_far: Progress) -> None:
            share = so_far.looked / max(1, so_far.total)
            self._from_thread(self._say_progress, stop, f"looking for {condition}", share)

        def work() -> None:
            hit: int | None = None
            failure = ""
            try:
                hit = search(self.session.machine, condition, start, forward, stop, progress, seen)
            except (OptraceError, OSError) as error:
                failure = str(error)
            self._from_thread(self._searched, stop, condition, forward, hit, failure)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def _say_progress(self, stop: threading.Event, words: str, share: float) -> None:
        if self._stop is stop:
            self.keybar.say(
                [Span(words, "bold"), Span(f"  {share:.0%}   ", "fresh"), Span("Esc", "key"), Span(" stop", "dim")]
            )

    def _searched(
        self, stop: threading.Event, condition: Condition, forward: bool, hit: int | None, failure: str
    ) -> None:
        if self._stop is not stop:
            return
        self._stop = None
        if failure:
            self.keybar.say([Span(failure, "bad")])
        elif hit is None:
            self.keybar.say([Span(f"{condition} holds nowhere {'later' if forward else 'earlier'}.", "dim")])
        else:
            self.session.follow = False
            self.session.cursor.jump(hit)
            self.keybar.say([Span(f"{condition}", "match"), Span(" holds here.")])
        self.redraw()

    # Sorting

    def sort_by(self, key: str) -> None:
        """Sort the parameters; for thousands that takes a while."""
        self.stop_search()
        stop = self._stop = threading.Event()
        words = f"sorting by {SORT_NAMES[key]}"

        def progress(done: int, whole: int) -> bool:
            self._from_thread(self._say_progress, stop, words, done / whole)
            return not stop.is_set()

        def work() -> None:
            order = None
            try:
                order = self.session.sorted_by(key, progress)
            except (OptraceError, OSError) as error:
                self._from_thread(self.keybar.say, [Span(str(error), "bad")])
            self._from_thread(self._sorted, stop, key, order)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def _sorted(self, stop: threading.Event, key: str, order: Any) -> None:
        if self._stop is not stop:
            return
        self._stop = None
        if order is not None:
            self.session.use_order(key, order)
            where = "" if key in ("order", "name", "size") else f", as at {self.session.position(self.session.seq)}"
            self.keybar.say([Span(f"Sorted by {SORT_NAMES[key]}{where}.", "dim")])
        self.redraw()

    # Comparing

    def compare(self, mark: int) -> None:
        """Compare the mark with here; for hundreds of parameters, or large ones, that takes a while."""
        self.stop_search()
        stop = self._stop = threading.Event()
        session = self.session
        here, rows = session.seq, session.rows[:COMPARED]
        more = len(session.rows) - len(rows)
        words = f"comparing {session.position(mark)} with {session.position(here)}"
        self._say_progress(stop, words, 0.0)

        def progress(done: int, whole: int) -> bool:
            self._from_thread(self._say_progress, stop, words, done / whole)
            return not stop.is_set()

        def work() -> None:
            found, failure = None, ""
            try:
                found = compared(session, rows, mark, here, progress)
            except (OptraceError, OSError) as error:
                failure = str(error)
            entries = None if found is None else compare_entries(session, found, more, mark, here)
            self._from_thread(self._compared, stop, entries, failure)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def _compared(self, stop: threading.Event, entries: Entries | None, failure: str) -> None:
        if self._stop is not stop:
            return
        self._stop = None
        self.keybar.say([Span(failure, "bad")] if failure else [])
        if entries is not None and self.app.screen is self:
            bottom = keys("↑ ↓", "scroll", "Esc", "close")
            self.app.push_screen(Listing("Compare", entries, bottom, choosing=False, verbs=()))

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
            self._from_thread(self._read, want, series, done)
            return not stop.is_set()

        def work() -> None:
            try:
                series = history.collect(self.session.machine, want, report)
            except (OptraceError, OSError) as error:
                self._from_thread(self.keybar.say, [Span(str(error), "bad")])
                series = ()
            if series is not None:
                self._from_thread(self._read, want, series, 1.0)

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

    # Following

    def _grow(self) -> None:
        """Look for what was recorded since. A worker reads it, into a machine of its own; this one is looked at."""
        if self._newer is not None:
            self._take_in()
        elif not self._looking and not self.session.trace.complete and time.monotonic() >= self._next_look:
            self._looking = True
            self.run_worker(self._look, thread=True, group="growing", exit_on_error=False)

    def _look(self) -> None:
        began = time.monotonic()
        newer, failure = None, ""
        try:
            seen = _stamp(self.session.trace.path)
            if seen != self._seen:
                newer = self.session.newer()
                self._seen = seen
        except (OptraceError, OSError) as error:
            failure = str(error)
        self._next_look = time.monotonic() + (2 if failure else 20 * (time.monotonic() - began))
        if newer is not None and not self.is_attached:
            newer.close()
            return
        self._newer = newer
        self._looking = False
        if failure:
            self._from_thread(self.keybar.say, [Span(failure, "bad")])
        elif newer is not None:
            self._from_thread(self._take_in)

    def _take_in(self) -> None:
        """Look at the longer trace from now on, unless something still reads the one before: then a little later."""
        reading = any(worker.group in _READING and not worker.is_finished for worker in self.workers)
        if self._newer is None or self.running or self._wanted is not None or reading:
            return
        newer, self._newer = self._newer, None
        new, before = self.session.grown(newer)
        self.run_worker(before.close, thread=True, group="closing", exit_on_error=False)
        if new:
            self.redraw()
        if (new and time.monotonic() > self._next_check) or self.session.trace.complete:
            self._check()

    def on_unmount(self) -> None:
        if self._newer is not None:
            self._newer.close()
            self._newer = None

    # Playing

    @property
    def playing(self) -> bool:
        return self._timer is not None

    def action_play(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        else:
            self._timer = self.set_interval(1 / self.pace, self._play_on)
        self.keybar.say(self.playing_note())

    def playing_note(self) -> list[Span]:
        raise NotImplementedError

    def _play_on(self) -> None:
        if self.app.screen is not self:
            return
        if not self.session.cursor.move(1) and self.session.trace.complete:
            self.action_play()
        self.redraw()

    def action_speed(self, factor: float) -> None:
        self.pace = max(0.5, min(64.0, self.pace * factor))
        if self._timer is not None:
            self.action_play()
            self.action_play()


def _stamp(path: Path) -> Stamp:
    """What changes when something is recorded: the files' sizes and times. `-shm` is left out: readers touch it."""
    found = []
    for file in sorted(path.iterdir()):
        if not file.name.endswith("-shm"):
            about = file.stat()
            found.append((file.name, about.st_size, about.st_mtime_ns))
    return tuple(found)
