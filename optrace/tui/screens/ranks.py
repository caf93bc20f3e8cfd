"""Several processes of one run: turning from one to the next, and one event on all of them side by side."""

from __future__ import annotations

import threading

from optrace.errors import OptraceError
from optrace.tui.core.kinds import SHOWN
from optrace.tui.core.numerals import short
from optrace.tui.core.processes import Beside, beside
from optrace.tui.core.spans import Line, Span, cut_middle, left, right
from optrace.tui.messages import TurnProcess
from optrace.tui.screens.jobs import Jobs
from optrace.tui.screens.listing import Entries, Listing, walking

MOST = 200
"""Parameters put side by side at most; a filter chooses others."""
_COLUMN = 12


class Ranks(Jobs):
    """A part of the main screen."""

    def action_process(self, by: int) -> None:
        if self._several():
            self.post_message(TurnProcess(by))

    def action_side_by_side(self) -> None:
        if not self._several():
            return
        self.stop_search()
        stop = self._stop = threading.Event()
        session, event = self.session, self.session.event
        names = [parameter.name for parameter in session.rows[:MOST]]
        more = len(session.rows) - len(names)
        words = f"reading {event.position} of {len(session.whole.processes)} processes"
        self._say_progress(stop, words, 0.0)

        progress = self.progress(stop, words)

        def work() -> None:
            found, failure = None, ""
            try:
                found = beside(session.whole.processes, event.iteration, event.index, names, progress)
            except (OptraceError, OSError) as error:
                failure = str(error)
            entries = None if found is None else beside_entries(found, str(event.position), more)
            self.from_thread(self._beside, stop, entries, failure)

        self.run_worker(work, thread=True, group="search", exit_on_error=False)

    def _beside(self, stop: threading.Event, entries: Entries | None, failure: str) -> None:
        if self._stop is not stop:
            return
        self._stop = None
        self.keybar.say([Span(failure, "bad")] if failure else [])
        if entries is not None and self.app.screen is self:
            self.app.push_screen(
                Listing.of(self.app, "Side by side", entries, walking("scroll"), choosing=False, verbs=())
            )

    def _several(self) -> bool:
        if len(self.session.whole.processes) > 1:
            return True
        self.note("This run was recorded in one process.", "dim")
        return False


def beside_entries(found: Beside, position: str, more: int) -> Entries:
    """The event of each process, a line each; then each parameter's norms, a column for each process."""

    def entries(width: int) -> list[list[Line]]:
        name = max(10, min(28, width // 4))
        room = max(1, (width - name - 34) // _COLUMN)
        shown = found.names[:room]
        hidden = len(found.names) - len(shown)
        lines: list[list[Line]] = [[_event(found, place, position, name)] for place in range(len(found.names))]
        head = left("parameter", name) + left("value", 7) + "".join(right(f"‖{n}‖", _COLUMN) for n in shown)
        tail = f"  … {hidden} more" if hidden else "  between them"
        lines += [[[]], [[Span(head + tail, "heading")]]]
        for row in found.rows:
            role = {"equal": "good", "shards": "dim"}.get(row.verdict, "changed")
            norms = "".join(right(_shown(norm), _COLUMN) for norm in row.norms[:room])
            lines.append(
                [
                    [
                        Span(left(cut_middle(row.name, name - 1), name), "", f"below({f'select({row.name!r})'!r})"),
                        Span(left(row.kind, 7), "dim"),
                        Span(norms),
                        Span(f"  {row.verdict}", role),
                    ]
                ]
            )
        if more:
            lines.append([[Span(f"… and {more} more; a filter (/) narrows this", "dim")]])
        return lines

    return entries


def _event(found: Beside, place: int, position: str, name: int) -> Line:
    event = found.events[place]
    start = Span(left(found.names[place], name), "bold")
    if event is None:
        return [start, Span(f"has no event {position}", "dim")]
    kind = SHOWN[event.kind]
    site = "" if event.site is None else f"  {event.site.file.rsplit('/', 1)[-1]}:{event.site.line}"
    loss = "" if event.loss is None else f"  loss {short(event.loss, 6)}"
    return [start, Span(f"{event.position}  "), Span(kind.word, kind.role), Span(loss), Span(site, "dim")]


def _shown(norm: float | None) -> str:
    return "none" if norm is None else "not kept" if norm != norm else short(norm, 5)
