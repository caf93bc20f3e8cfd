"""The end of a lesson: both runs side by side, and the way to the next lesson."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.events import Resize

from optrace.errors import OptraceError
from optrace.lessons.comparison import Comparison
from optrace.lessons.model import Lesson, Run
from optrace.tui.core.spans import Line, Span, clean, ends, wrap
from optrace.tui.learn.comparing import closing_lines, curve_at, curve_lines, finding_lines, repair_lines
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words
from optrace.tui.messages import Act
from optrace.tui.screens.at_once import AtOnce
from optrace.tui.screens.panes import LOW, NARROW
from optrace.tui.widgets.keybar import Key, KeyBar
from optrace.tui.widgets.lines import Lines
from optrace.tui.widgets.panebar import PaneBar


@dataclass(frozen=True)
class Place:
    """An iteration of a run that somebody pointed at."""

    run: Run
    iteration: int


Next = Literal["next", "list", "back"] | Place
NAMES = ("repair", "curves", "findings", "conclusion")


class Section(Lines):
    """A part of the comparison."""

    DEFAULT_CSS = """
    Section { border: round $border; overflow-y: auto; scrollbar-gutter: stable; border-title-color: $foreground; }
    Section.-current { border: round $primary; }
    """

    def __init__(self, name: str, title: str, make: Callable[[int, int], list[Line]]) -> None:
        """`make` gives its lines for a width and a height."""
        super().__init__(id=name)
        self._title, self._make = title, make
        self._lines: list[Line] = []

    def prepare(self, width: int, height: int) -> int:
        self.entitle(self._title)
        self._lines = self._make(width - 2, height)
        return len(self._lines)

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []

    def clicked(self, x: int, y: int) -> None:
        self.framed(False)

    def framed(self, top: bool) -> None:
        self.post_message(Act(f"pane({self.id!r})"))


class Charts(Section):
    """The part with the curves. Where one is clicked, there one goes."""

    def clicked(self, x: int, y: int) -> None:
        region = self.scrollable_content_region
        self.post_message(Act(f"point({x - 1}, {y}, {region.width - 2}, {region.height})"))


class ComparisonHead(Lines):
    """The first line."""

    DEFAULT_CSS = "ComparisonHead { height: 1; background: $panel; }"

    def __init__(self, title: str, what: str) -> None:
        super().__init__(id="head")
        self._title, self._what = title, what

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, width: int) -> Line:
        start = [Span(" optrace learn ", "title"), Span(f" {self._title}")]
        return ends(start, [Span(f"{self._what} ", "good")], width)


class ComparisonScreen(AtOnce[Next]):
    """Gives back where to go from here."""

    CSS = """
    ComparisonScreen { layout: vertical; background: $background; }
    ComparisonScreen #body { layout: horizontal; height: 1fr; }
    ComparisonScreen #first { width: 1fr; }
    ComparisonScreen #second { width: 1fr; }
    ComparisonScreen #conclusion { max-height: 50%; }
    ComparisonScreen #findings { max-height: 60%; }
    ComparisonScreen #repair, ComparisonScreen #curves { height: 1fr; }
    ComparisonScreen.-narrow #body { layout: vertical; }
    ComparisonScreen.-narrow #panes { display: block; }
    ComparisonScreen.-narrow #first, ComparisonScreen.-narrow #second { height: 1fr; width: 100%; }
    ComparisonScreen.-narrow .-hidden { display: none !important; }
    ComparisonScreen.-narrow #findings, ComparisonScreen.-narrow #conclusion { max-height: 100%; }
    .-poor Section, .-poor Section.-current { border: ascii $border; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go('next')", "Next lesson"),
        Binding("backspace", "go('back')", "Back to the last stop"),
        Binding("escape,q", "go('list')", "Lessons"),
        Binding("tab", "turn(1)", "Next part", priority=True),
        Binding("shift+tab", "turn(-1)", "Part before", priority=True),
        Binding("down,j", "scroll(1)", "Down"),
        Binding("up,k", "scroll(-1)", "Up"),
        Binding("pagedown,space", "scroll(8)", "Page down"),
        Binding("pageup", "scroll(-8)", "Page up"),
        Binding("y", "log", "Linear or log axis"),
        Binding("t", "theme", "Dark or light"),
    ]

    def __init__(self, guide: Guide, runs: Runs, words: Words, following: Lesson | None, back: bool) -> None:
        """`following` is the next lesson of the course; `back` whether there is a list to go back to."""
        super().__init__()
        self.guide, self.runs, self.words = guide, runs, words
        self.comparison: Comparison | None = None
        self._failure = ""
        self._flip = False
        make = {"repair": self._repair, "curves": self._curves, "findings": self._found, "conclusion": self._ending}
        kinds = {"curves": Charts}
        self.sections = {name: kinds.get(name, Section)(name, words(name), make[name]) for name in NAMES}
        self.head = ComparisonHead(guide.lesson.title, words("comparison" if len(runs.names) > 1 else "one run only"))
        self.panebar = PaneBar(tuple((name, words(name)) for name in NAMES), NAMES[0], f"Tab {words('key turn')}")
        leave = words("key list" if back else "key quit")
        onward = words("key next lesson", title=following.title) if following is not None else leave
        keys = (
            Key(words.sign("⏎"), onward, ("go('next')",)),
            Key(words.sign("⌫"), words("key last stop"), ("go('back')",)),
            Key("q", leave, ("go('list')",)),
            Key("Tab", words("key pane"), ("turn(1)",)),
            Key(words.sign("↑ ↓"), words("key scroll"), ("scroll(-1)", "scroll(1)")),
            Key("y", words("key log"), ("log",)),
        )
        self.keybar = KeyBar(keys, tuple(key.word for key in keys))

    def compose(self) -> ComposeResult:
        yield self.head
        with Container(id="body"):
            yield self.panebar
            with Vertical(id="first"):
                yield self.sections["repair"]
                yield self.sections["findings"]
            with Vertical(id="second"):
                yield self.sections["conclusion"]
                yield self.sections["curves"]
        yield self.keybar

    def on_mount(self) -> None:
        self.action_pane(NAMES[0])
        self.run_worker(self._compare, thread=True, exit_on_error=False)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < NARROW or event.size.height < LOW, "-narrow")
        self.call_after_refresh(self.redraw)

    def redraw(self) -> None:
        narrow = self.has_class("-narrow")
        for name in ("findings", "conclusion"):  # where all are shown, these are as high as their text
            section = self.sections[name]
            width = section.scrollable_content_region.width
            if width > 10:
                section.styles.height = "1fr" if narrow else section.prepare(width, 0) + 2
        for pane in (self.head, self.panebar, *self.sections.values(), self.keybar):
            pane.show()

    def _compare(self) -> None:
        try:
            found, failure = self.guide.played.comparison, ""
        except (OptraceError, OSError) as error:
            found, failure = None, str(error)
        self.app.call_later_from_thread(self._compared, found, failure)  # type: ignore[attr-defined]

    def _compared(self, found: Comparison | None, failure: str) -> None:
        self.comparison, self._failure = found, failure
        self.redraw()

    # The parts

    @property
    def names(self) -> dict[Run, str]:
        """What the scripts are called."""
        return {run: self.runs.script(run).name for run in self.runs.names}

    def _repair(self, width: int, height: int) -> list[Line]:
        return self._once(lambda found: repair_lines(found.diff, self.words, width), width)

    def _found(self, width: int, height: int) -> list[Line]:
        return self._once(lambda found: finding_lines(found.findings, self.names, self.words, width), width)

    def _curves(self, width: int, height: int) -> list[Line]:
        return self._once(
            lambda found: curve_lines(found.curves, self.names, self.words, width, height, self._flip), width
        )

    def _ending(self, width: int, height: int) -> list[Line]:
        return closing_lines(self.guide, self.words, width)

    def _once(self, make: Callable[[Comparison], list[Line]], width: int) -> list[Line]:
        if self._failure:
            return wrap([Span(clean(self._failure), "bad")], width)
        return [[Span(self.words("comparing"), "dim")]] if self.comparison is None else make(self.comparison)

    # Keys

    def action_go(self, where: Next) -> None:
        self.dismiss(where)

    def action_turn(self, by: int) -> None:
        self.action_pane(NAMES[(NAMES.index(self.panebar.shown) + by) % len(NAMES)])

    def action_pane(self, name: str) -> None:
        """Make this part the one that scrolls, and on narrow screens the one that is shown."""
        self.panebar.shown = name
        for section in self.sections.values():
            section.set_class(section.id == name, "-current")
            section.set_class(section.id != name, "-hidden")
        left = name in ("repair", "findings")
        self.query_one("#first").set_class(not left, "-hidden")
        self.query_one("#second").set_class(left, "-hidden")
        self.panebar.repaint()
        self.call_after_refresh(self.redraw)

    def action_point(self, x: int, y: int, width: int, height: int) -> None:
        """Somebody pointed at this place among the curves, which were drawn in this size: go there."""
        curves = self.comparison.curves if self.comparison is not None else ()
        found = curve_at(curves, width, height, self._flip, x, y)
        if found is None:
            self.action_pane("curves")
        else:
            self.dismiss(Place(*found))

    def action_scroll(self, by: int) -> None:
        self.sections[self.panebar.shown].scroll_relative(y=by, animate=False, force=True)

    def action_log(self) -> None:
        self._flip = not self._flip
        self.redraw()

    def action_theme(self) -> None:
        self.app.theme = "optrace-light" if self.app.current_theme.dark else "optrace-dark"

    @on(Act)
    async def _act(self, message: Act) -> None:
        message.stop()
        await self.run_action(message.action)
