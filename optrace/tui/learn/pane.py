"""The pane of a lesson: its text, its question with the answers to choose from, what became of it."""

from __future__ import annotations

from typing import ClassVar

from rich.markup import escape
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.widgets import Input, Static

from optrace.tui.core.blocks import ascii_only
from optrace.tui.core.spans import Line, Span, acting, cut, fit, tinted, wrap
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.prose import prose
from optrace.tui.learn.words import Words
from optrace.tui.messages import Act
from optrace.tui.widgets.lines import Lines

_DIGITS = frozenset("0123456789.-−+/eE０１２３４５６７８９．－")


class Answer(Input, inherit_bindings=False):
    """Takes what a number is made of. Every other key stays with the screen, which can be wandered meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace", "erase", "Erase"),
        Binding("enter", "submit", "Answer"),
    ]

    def __init__(self) -> None:
        super().__init__(select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        self.cursor_blink = False

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether it is typed here: a digit, or what may follow one."""
        if character is None or character not in _DIGITS:
            return False
        return character not in "eE/" or any(digit.isdigit() for digit in self.value)

    def on_key(self, event: Key) -> None:
        if event.is_printable and not self.check_consume_key(event.key, event.character):
            event.prevent_default()

    def action_erase(self) -> None:
        """Take the last digit back; with none left, the key means what it always means."""
        if self.value:
            self.action_delete_left()
        else:
            self.post_message(Act("previous_stop"))


class LessonText(Lines):
    """What is said at this place of the lesson."""

    DEFAULT_CSS = "LessonText { height: 1fr; overflow-y: auto; scrollbar-gutter: stable; }"

    def __init__(self, guide: Guide, words: Words) -> None:
        super().__init__(id="lesson-text")
        self._guide, self._words = guide, words
        self._lines: list[Line] = []
        self._stamp: object = None
        self.compact = False
        self.chosen = 0
        self.complaint = ""
        """What is wrong with an answer just typed."""

    def prepare(self, width: int, height: int) -> int:
        self._lines = self.laid_out(width)
        stamp = (self._guide.number, self._guide.asking)
        if stamp != self._stamp:
            self._stamp = stamp
            self.scroll_to(y=0, animate=False, force=True)
        return len(self._lines)

    def laid_out(self, width: int) -> list[Line]:
        """All lines, in `width` columns."""
        guide, words, room = self._guide, self._words, max(10, width - 2)
        page, verdict = guide.page, guide.verdict
        lines: list[Line] = []
        if guide.asking and not self.compact:
            lines += [[Span(f" {words('question')} ", "tab-on")], []]
        elif verdict is not None:
            lines += [*self._verdict(room), []]
        lines += prose(page.text, room)
        if guide.asking:
            lines.append([])
            for number, (text, _) in enumerate(page.choices):
                lines += self._choice(number, text, room)
            if page.choices:
                lines.append([])
            lines += self._hint(room)
        for claim in page.untrue:
            lines += [[], *wrap([Span("▲ ", "finding-warning"), Span(words("untrue", claim=claim), "stale")], room)]
        for error in page.errors:
            lines += [[], *wrap([Span("▲ " + words("lesson is wrong", error=error), "bad")], room)]
        return lines

    def _hint(self, room: int) -> list[Line]:
        words = self._words
        if self.complaint:
            return wrap([Span(self.complaint, "stale")], room)
        return wrap([Span(words("type a number" if self._guide.typing else "choose one"), "dim")], room)

    def _choice(self, number: int, text: str, room: int) -> list[Line]:
        on = number == self.chosen
        lines = prose(text, room - 4) or ([],)
        mark = Span("▸ " if on else "  ", "selected-mark")
        first: Line = [mark, Span(f"{number + 1} ", "key"), *lines[0]]
        laid = [first, *([Span("    "), *line] for line in lines[1:])]
        laid = [acting(fit(line, room), f"choose({number})") for line in laid]
        if not on:
            return laid
        return [tinted(line, "selected-row") for line in laid]

    def _verdict(self, room: int) -> list[Line]:
        words, given = self._words, self._guide.verdict
        assert given is not None
        if given.right:
            line = [Span("✓ ", "good"), *_inline(words("right", recorded=given.recorded), "good")]
        elif given.said:
            told = words("wrong", said=given.said, recorded=given.recorded)
            line = [Span("✗ ", "stale bold"), *_inline(told, "bold")]
        else:
            line = _inline(words("skipped", recorded=given.recorded), "bold") if given.recorded else []
        return wrap(line, room)

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []


def _inline(text: str, role: str) -> Line:
    """One paragraph of Markdown on one line."""
    lines = prose(text, 10_000)
    return [span for line in lines for span in tinted(line, role)]


class LessonPane(Vertical):
    """The text, and under it the line to type an answer in."""

    DEFAULT_CSS = """
    LessonPane { border: round $primary; border-title-color: $foreground; border-title-style: bold;
                 border-subtitle-color: $secondary; }
    LessonPane { link-color: $secondary; link-style: none; link-background-hover: $panel; link-color-hover: $accent; }
    LessonPane.-away { border: round $accent; border-subtitle-color: $accent; border-subtitle-style: bold;
                       link-color: $accent; }
    LessonPane Horizontal { height: 1; display: none; margin: 0 1; }
    LessonPane.-typing Horizontal { display: block; }
    LessonPane Horizontal Static { width: auto; color: $accent; text-style: bold; }
    LessonPane Answer { width: 1fr; background: $panel; padding: 0 1; }
    """

    def __init__(self, guide: Guide, words: Words) -> None:
        super().__init__(id="lesson")
        self._guide, self._words = guide, words
        self.text = LessonText(guide, words)
        self.answer = Answer()

    def compose(self) -> ComposeResult:
        yield self.text
        with Horizontal():
            yield Static(f"{self._words('answer')} {'>' if self._words.poor else '▸'} ", markup=False)
            yield self.answer

    def needed(self, width: int) -> int:
        """Rows that everything in it would take, at a width of the whole pane."""
        return len(self.text.laid_out(width - 3)) + 2 + self._guide.typing

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """The line to type in follows the question right away."""
        lines = len(self.text.laid_out(self.text.scrollable_content_region.width))
        self.text.styles.height = max(1, min(lines, self.size.height - 1)) if self._guide.typing else "1fr"

    def follow(self, away: bool, where: Line, title: str) -> None:
        """Say where one is, and take an answer where one is asked for."""
        self.set_class(away, "-away")
        typing = self._guide.typing
        if typing != self.has_class("-typing"):
            self.set_class(typing, "-typing")
            self.answer.value = ""
        self._fit()
        if typing and not self.answer.has_focus:
            self.answer.focus()
        elif not typing and self.answer.has_focus:
            self.screen.set_focus(None)
        poor = getattr(self.app, "ascii_only", False)
        room = max(0, self.outer_size.width - 6)
        title, *below = (ascii_only(text) if poor else text for text in (cut(title, room), *(s.text for s in where)))
        self.border_title = escape(title)
        # Words in a frame are no line of a pane: Textual itself does what they stand for.
        self.border_subtitle = "".join(
            f"[@click=screen.{span.action}]{escape(text)}[/]" if span.action else escape(text)
            for span, text in zip(where, below, strict=True)
        )
        self.text.show()
