"""What somebody asked for and may stop: a search, a sort, a comparison. One at a time, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from optrace.errors import OptraceError
from optrace.tui.core.conditions import Condition, Progress, search
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Span
from optrace.tui.core.table import SORT_NAMES
from optrace.tui.screens.entries import COMPARED, compare_entries, compared
from optrace.tui.screens.listing import Entries, Listing, walking
from optrace.tui.screens.panes import Panes
from optrace.tui.widgets.keybar import Key


class Jobs(Panes):
    """A part of the main screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._stop: threading.Event | None = None

    def quiet(self) -> None:
        if not self.running:
            super().quiet()

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
            self.from_thread(self._say_progress, stop, f"looking for {condition}", share)

        def work() -> None:
            hit: int | None = None
            failure = ""
            try:
                hit = search(self.session.machine, condition, start, forward, stop, progress, seen)
            except (OptraceError, OSError) as error:
                failure = str(error)
            self.from_thread(self._searched, stop, condition, forward, hit, failure)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def progress(self, stop: threading.Event, words: str) -> Callable[[int, int], bool]:
        """For a thread to say how far it is, a few times a second at most; False once it shall stop."""
        said = 0.0

        def report(done: int, whole: int) -> bool:
            nonlocal said
            if time.monotonic() > said + 0.1:
                said = time.monotonic()
                self.from_thread(self._say_progress, stop, words, done / whole)
            return not stop.is_set()

        return report

    def _say_progress(self, stop: threading.Event, words: str, share: float) -> None:
        if self._stop is stop:
            self.keybar.say(
                [
                    Span(words, "bold", "escape"),
                    Span(f"  {share:.0%}   ", "fresh", "escape"),
                    *Key("Esc", "stop", ("escape",)).spans(),
                ]
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

        progress = self.progress(stop, words)

        def work() -> None:
            order = None
            try:
                order = self.session.sorted_by(key, progress)
            except (OptraceError, OSError) as error:
                self.from_thread(self.keybar.say, [Span(str(error), "bad")])
            self.from_thread(self._sorted, stop, key, order)

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

        progress = self.progress(stop, words)

        def work() -> None:
            found, failure = None, ""
            try:
                found = compared(session, rows, mark, here, progress)
            except (OptraceError, OSError) as error:
                failure = str(error)
            entries = None if found is None else compare_entries(session, found, more, mark, here)
            self.from_thread(self._compared, stop, entries, failure)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def _compared(self, stop: threading.Event, entries: Entries | None, failure: str) -> None:
        if self._stop is not stop:
            return
        self._stop = None
        self.keybar.say([Span(failure, "bad")] if failure else [])
        if entries is not None and self.app.screen is self:
            self.app.push_screen(Listing.of(self.app, "Compare", entries, walking("scroll"), choosing=False, verbs=()))
