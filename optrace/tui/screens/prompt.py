"""One line to type in, with completion and a line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp
from textual.widgets import Input, Static

from optrace.errors import OptraceError
from optrace.tui.core.spans import Line, Span, fit
from optrace.tui.messages import RowChosen
from optrace.tui.screens.over import Box, Over
from optrace.tui.widgets.keybar import Key, KeyBar, Keys
from optrace.tui.widgets.lines import Lines

Complete = Callable[[str], list[tuple[str, str]]]
"""For what was typed so far: whole texts, each with its meaning."""
Check = Callable[[str], None]


class Completions(Lines):
    """What the text may become, ten at a time. It draws its scroll bar itself: one of Textual's comes a frame later."""

    DEFAULT_CSS = "Completions { display: none; }"
    MOST = 10

    def __init__(self) -> None:
        super().__init__()
        self.known: list[tuple[str, str]] = []
        self.chosen: int | None = None
        self._top = 0

    def offer(self, known: list[tuple[str, str]]) -> None:
        """Show these, none of them marked."""
        self.known, self.chosen, self._top = known, None, 0
        self.display = bool(known)
        self.styles.height = min(self.MOST, len(known))
        self.show()

    def choose(self, number: int) -> None:
        """Mark one, and scroll to it."""
        self.chosen = number
        self._scroll(max(number - self.MOST + 1, min(self._top, number)))

    def _scroll(self, top: int) -> None:
        self._top = max(0, min(top, len(self.known) - self.MOST))
        self.show()

    def prepare(self, width: int, height: int) -> int:
        return min(self.MOST, len(self.known))

    def line(self, y: int, width: int) -> Line:
        if self._top + y >= len(self.known):
            return []
        room = max(len(whole) for whole, _ in self.known) + 2
        whole, meaning = self.known[self._top + y]
        role = "selected-row" if self._top + y == self.chosen else ""
        line = fit([Span(f"{whole:<{room}}{meaning}", role)], width - 1, role)
        first, last = (place * self.MOST // len(self.known) for place in (self._top, self._top + self.MOST - 1))
        return [*line, Span("▐" if first <= y <= last and len(self.known) > self.MOST else " ", "axis")]

    def clicked(self, x: int, y: int) -> None:
        if self._top + y < len(self.known):
            self.post_message(RowChosen(self._top + y))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._scroll(self._top + 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._scroll(self._top - 3)


class Prompt(Over[str | None]):
    """Gives back what was typed once `check` lets it through; None when left with Esc."""

    CSS = """
    Prompt { align: center bottom; background: $background 40%; }
    Prompt > Box { height: auto; max-height: 20; background: $surface; border: round $primary; padding: 0 1; }
    Prompt Input { border: none; height: 1; padding: 0; background: $surface; }
    Prompt Static { height: auto; color: $secondary; }
    Prompt KeyBar { background: $surface; }
    Prompt Static.-wrong { color: $error; text-style: bold; }
    """
    NAME = "prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave"),
        Binding("tab", "complete", "Complete", priority=True),
        Binding("down", "pick(1)", "Next", priority=True),
        Binding("up", "pick(-1)", "Previous", priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._box = Box()
        self._list = Completions()
        self._entry = Input(select_on_focus=False)
        self._line = Static(markup=False)
        self._bar = KeyBar(())
        self._hint = ""
        self._check: Check | None = None
        self._complete: Complete | None = None
        self._changed: Callable[[str], None] | None = None

    @classmethod
    def of(
        cls,
        app: App[Any],
        title: str,
        hint: str,
        check: Check,
        complete: Complete | None = None,
        text: str = "",
        changed: Callable[[str], None] | None = None,
        words: tuple[str, str, str] = ("ok", "complete", "cancel"),
    ) -> Prompt:
        """The app's, to ask something new. `words` are those of the keys at its foot."""
        self = app.get_screen(cls.NAME, cls)
        self._hint, self._check, self._complete, self._changed = hint, check, complete, changed
        self._box.border_title = title
        with self._entry.prevent(Input.Changed):
            self._entry.value = text
        self._entry.cursor_position = len(text)
        self._say(hint)
        self._suggest(text)
        keys: Keys = (Key("Enter", words[0], ("submit",)),)
        if complete is not None:
            keys += (Key("Tab", words[1], ("complete",)),)
        self._bar.offer((*keys, Key("Esc", words[2], ("leave",))))
        return self

    def compose(self) -> ComposeResult:
        with self._box:
            yield self._list
            yield self._entry
            yield self._line
            yield self._bar

    def on_mount(self) -> None:
        self._entry.cursor_blink = False
        self._entry.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._say(self._hint)
        self._suggest(event.value)
        if self._changed is not None:
            self._changed(event.value)

    def _suggest(self, text: str) -> None:
        self._list.offer(self._complete(text)[:40] if self._complete is not None else [])

    def _say(self, words: str, *, wrong: bool = False) -> None:
        self._line.update(words)
        self._line.set_class(wrong, "-wrong")

    def action_pick(self, by: int) -> None:
        """Walk through the completions."""
        if self._list.known:
            here = self._list.chosen
            self._list.choose((0 if here is None and by > 0 else (here or 0) + by) % len(self._list.known))

    def action_complete(self) -> None:
        """Take the marked completion, or the first."""
        if self._list.known:
            self._take(self._list.chosen or 0)

    def _take(self, number: int) -> None:
        self._entry.value = self._list.known[number][0]
        self._entry.cursor_position = len(self._entry.value)

    @on(RowChosen)
    def _clicked(self, event: RowChosen) -> None:
        event.stop()
        self._take(event.row)
        self._entry.focus()

    async def action_submit(self) -> None:
        """As Enter does."""
        await self._entry.action_submit()

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        event.stop()
        if self._list.chosen is not None:
            self.action_complete()
            return
        try:
            if self._check is not None:
                self._check(event.value)
        except OptraceError as error:
            self._say(str(error), wrong=True)
            return
        self.dismiss(event.value)
