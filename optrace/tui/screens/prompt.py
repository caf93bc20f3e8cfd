"""One line to type in, with completion and a line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from optrace.errors import OptraceError
from optrace.tui.screens.over import Over
from optrace.tui.widgets.keybar import Key, KeyBar, Keys

Complete = Callable[[str], list[tuple[str, str]]]
Check = Callable[[str], None]


class Prompt(Over[str | None]):
    """Gives back what was typed once `check` lets it through; None when left with Esc."""

    CSS = """
    Prompt { align: center bottom; background: $background 40%; }
    Prompt > Vertical { height: auto; max-height: 20; background: $surface; border: round $primary; padding: 0 1; }
    Prompt Input { border: none; height: 1; padding: 0; background: $surface; }
    Prompt OptionList { height: auto; max-height: 10; border: none; background: $surface; display: none; padding: 0; }
    Prompt OptionList.-some { display: block; }
    Prompt Static { height: auto; color: $secondary; }
    Prompt KeyBar { background: $surface; }
    Prompt Static.-wrong { color: $error; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave"),
        Binding("tab", "complete", "Complete", priority=True),
        Binding("down", "pick(1)", "Next", priority=True),
        Binding("up", "pick(-1)", "Previous", priority=True),
    ]

    def __init__(
        self,
        title: str,
        hint: str,
        check: Check,
        complete: Complete | None = None,
        text: str = "",
        changed: Callable[[str], None] | None = None,
        words: tuple[str, str, str] = ("ok", "complete", "cancel"),
    ) -> None:
        """`words` are those of the keys at its foot."""
        super().__init__()
        self._title, self._hint, self._check = title, hint, check
        self._complete, self._text, self._changed = complete, text, changed
        self._options: list[tuple[str, str]] = []
        self._keys: Keys = (Key("Enter", words[0], ("submit",)),)
        if complete is not None:
            self._keys += (Key("Tab", words[1], ("complete",)),)
        self._keys += (Key("Esc", words[2], ("leave",)),)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            yield OptionList()
            yield Input(self._text, select_on_focus=False)
            yield Static(self._hint, markup=False)
            yield KeyBar(self._keys, tuple(key.word for key in self._keys))

    def on_mount(self) -> None:
        entry = self.query_one(Input)
        entry.cursor_blink = False
        entry.cursor_position = len(self._text)
        entry.focus()
        self.query_one(OptionList).can_focus = False
        self._suggest(self._text)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._say(self._hint)
        self._suggest(event.value)
        if self._changed is not None:
            self._changed(event.value)

    def _suggest(self, text: str) -> None:
        self._options = self._complete(text)[:40] if self._complete is not None else []
        listed = self.query_one(OptionList)
        listed.clear_options()
        room = max((len(whole) for whole, _ in self._options), default=0) + 2
        listed.add_options([Option(f"{whole:<{room}}{meaning}") for whole, meaning in self._options])
        listed.set_class(bool(self._options), "-some")

    def _say(self, words: str, *, wrong: bool = False) -> None:
        line = self.query_one(Static)
        line.update(words)
        line.set_class(wrong, "-wrong")

    def action_pick(self, by: int) -> None:
        """Walk through the completions."""
        listed = self.query_one(OptionList)
        if self._options:
            here = listed.highlighted
            listed.highlighted = (0 if here is None and by > 0 else (here or 0) + by) % len(self._options)

    def action_complete(self) -> None:
        """Take the marked completion, or the first."""
        listed, entry = self.query_one(OptionList), self.query_one(Input)
        if self._options:
            entry.value = self._options[listed.highlighted or 0][0]
            entry.cursor_position = len(entry.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        entry = self.query_one(Input)
        entry.value = self._options[event.option_index][0]
        entry.cursor_position = len(entry.value)
        entry.focus()

    async def action_submit(self) -> None:
        """As Enter does."""
        await self.query_one(Input).action_submit()

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        event.stop()
        if self.query_one(OptionList).highlighted is not None and self._options:
            self.action_complete()
            return
        try:
            self._check(event.value)
        except OptraceError as error:
            self._say(str(error), wrong=True)
            return
        self.dismiss(event.value)
