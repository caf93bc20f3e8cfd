"""While a lesson's scripts run: what runs, for how long, how much is recorded. What went wrong, where something did."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from optrace.lessons.model import Lesson, Run
from optrace.tui.core.spans import Line, Span, clean, cut, wrap
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words
from optrace.tui.screens.at_once import AtOnce
from optrace.tui.widgets.keybar import Key, KeyBar
from optrace.tui.widgets.lines import Lines

TICK = 0.12
"""Seconds between two pictures of the spinner."""
LOOK = 5
"""Ticks between two looks at the growing traces."""
LAST_LINES = 12
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
Outcome = Literal["open", "leave"]


class RunningLines(Lines):
    """The scripts, and below them what they printed where one did not end well."""

    DEFAULT_CSS = "RunningLines { height: 8; overflow-y: auto; }"

    def __init__(self, runs: Runs, words: Words) -> None:
        super().__init__(id="running")
        self._runs, self._words = runs, words
        self._lines: list[Line] = []
        self.tick = 0
        self.events: dict[Run, int] = {}
        self.failure = ""
        """Why the lesson cannot be opened though its scripts ran."""

    def prepare(self, width: int, height: int) -> int:
        room, runs, words = width - 4, self._runs, self._words
        self._lines = [[], *wrap([Span(runs.lesson.summary)], room), []]
        for run in runs.names:
            self._lines += [self._script(run), []]
        failures = [*runs.failures.values(), *([self.failure] if self.failure else [])]
        for failure in failures:
            self._lines += [*wrap([Span("✗ " + clean(failure), "bad")], room), []]
        if failures:
            self._lines += [[Span(words("not possible"), "bold")], []]
        for run, ran in runs.ran.items():
            if ran.exit_code:
                self._lines += self._printed(run, room)
        if runs.over and runs.crashed and not failures:
            self._lines += [*wrap([Span(words("crashed"), "bold")], room), []]
        self.styles.height = max(1, min(len(self._lines), self.screen.size.height * 9 // 10 - 2))
        return len(self._lines)

    def _script(self, run: Run) -> Line:
        runs, words = self._runs, self._words
        name = Span(f"{runs.script(run).name:<16}", "bold")
        seconds = Span(f"{runs.elapsed(run):5.1f} s   ", "dim")
        number = self.events.get(run, 0)
        events = words.count(number, "an event", "events")
        if run in runs.failures:
            return [Span("✗ ", "bad"), name, seconds]
        if run in runs.ran:
            code = runs.ran[run].exit_code
            ended = Span("   " + words("ended with", code=code), "stale") if code else Span("")
            sign = Span("✓ ", "good") if not code else Span("▲ ", "stale")
            return [sign, name, seconds, Span(f"{words('recorded')}: {events}"), ended]
        doing = f"{words('recording')}: {events}" if number else words("waiting")
        return [Span(_SPINNER[self.tick % len(_SPINNER)] + " ", "key"), name, seconds, Span(doing)]

    def _printed(self, run: Run, room: int) -> list[Line]:
        lines = self._runs.output(run).rstrip().splitlines()[-LAST_LINES:]
        if not lines:
            return [[Span(self._words("it printed nothing"), "dim")], []]
        shown: list[Line] = [
            [Span("│ ", "axis"), Span(cut(clean(line.expandtabs(8)), room - 2), "dim")] for line in lines
        ]
        return [[Span(self._words("it printed"))], *shown, []]

    def line(self, y: int, width: int) -> Line:
        return [Span("  "), *self._lines[y]] if y < len(self._lines) else []


class RunningScreen(AtOnce[Outcome]):
    """Gives back whether to open the lesson. Opens it by itself where all went well."""

    CSS = """
    RunningScreen { layout: vertical; background: $background; align: center middle; }
    RunningScreen > Vertical { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round $primary;
                               border-title-color: $foreground; border-title-style: bold;
                               border-subtitle-color: $secondary; }
    RunningScreen KeyBar { dock: bottom; }
    .-poor RunningScreen > Vertical { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel"),
        Binding("enter", "open", "Open the lesson anyway"),
        Binding("down,j", "scroll(1)", "Down"),
        Binding("up,k", "scroll(-1)", "Up"),
    ]

    def __init__(self, lesson: Lesson, runs: Runs, words: Words) -> None:
        super().__init__()
        self.lesson, self.runs, self.words = lesson, runs, words
        self.body = RunningLines(runs, words)
        self.keybar = KeyBar((Key("Esc", words("key cancel"), ("cancel",)),), (words("key cancel"),))

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.lesson.title
            box.border_subtitle = self.words("running title")
            yield self.body
        yield self.keybar

    def on_mount(self) -> None:
        for run in self.runs.names:
            self.run_worker(lambda run=run: self.runs.start(run), thread=True, group="runs", exit_on_error=False)
        self.set_interval(TICK, self._tick)

    def on_unmount(self) -> None:
        self.runs.stop()

    def _tick(self) -> None:
        self.body.tick += 1
        if self.body.tick % LOOK == 0 and not self.runs.over:
            self._count()
        self.body.show()

    def _count(self) -> None:
        for run in self.runs.names:
            self.body.events[run] = self.runs.events(run)

    def ended(self) -> None:
        """One of the scripts has ended: when none runs any more, open the lesson or say why not."""
        if not self.runs.over or self.runs.stopped:
            return
        self._count()
        if self.runs.failures or self.runs.crashed:
            self._explain()
        else:
            self.dismiss("open")

    def _explain(self) -> None:
        words = self.words
        leave = Key("Esc", words("key close"), ("cancel",))
        open_ = Key(words.sign("⏎"), words("key open anyway"), ("open",))
        self.keybar.offer((leave,) if self.runs.failures else (open_, leave))
        self.body.show()

    def action_open(self) -> None:
        if self.runs.over and not self.runs.failures:
            self.dismiss("open")

    def action_cancel(self) -> None:
        self.runs.stop()
        self.dismiss("leave")

    def action_scroll(self, by: int) -> None:
        self.body.scroll_relative(y=by, animate=False, force=True)
