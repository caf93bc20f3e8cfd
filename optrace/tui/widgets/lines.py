"""A pane that draws lines of spans through the line API, and repaints only lines that changed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from rich.markup import escape
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.events import Click
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from optrace.errors import OptraceError
from optrace.tui.core.blocks import ascii_only
from optrace.tui.core.spans import Line, Span, action_at, cut, fit, wrap
from optrace.tui.messages import Act, Damaged
from optrace.tui.theme import style_of

_KEPT = 512


class Lines(ScrollView, can_focus=False):
    """Subclasses say how many lines there are and what is in each; only visible ones are asked for."""

    DEFAULT_CSS = """
    Lines {
        scrollbar-size: 1 1; overflow: hidden;
        scrollbar-color: $border; scrollbar-color-hover: $primary; scrollbar-color-active: $primary;
        scrollbar-background: $background; scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
    }
    """
    ALLOW_SELECT = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._strips: OrderedDict[int, tuple[Line, Strip]] = OrderedDict()
        self._drawn = (0, "")
        """In how many columns, in which theme."""
        self._shown = Size(0, 0)
        self._scrolled = 0
        self._base = Style()
        self._entitled = ("", "")
        self._drawing = False

    def entitle(self, title: str, below: str = "") -> None:
        """Words in the frame, above and below."""
        poor = getattr(self.app, "ascii_only", False)
        words = [cut(text, max(0, self.outer_size.width - 6)) for text in (title, below)]
        above, under = (escape(ascii_only(text) if poor else text) for text in words)
        if (above, under) != self._entitled:  # setting them draws the whole pane anew
            self._entitled = (above, under)
            self.border_title, self.border_subtitle = above, under
            if self._drawing:  # the frame of this picture has been read already
                self.call_later(self.refresh)

    # What subclasses say

    def prepare(self, width: int, height: int) -> int:
        """Get ready to be asked for lines; how many there are."""
        raise NotImplementedError

    def line(self, y: int, width: int) -> Line:
        """Line `y`, in at most `width` columns."""
        raise NotImplementedError

    def clicked(self, x: int, y: int) -> None:
        """Somebody pointed at column `x` of line `y`, where no piece stands for an action."""

    def framed(self, top: bool) -> None:
        """Somebody pointed at the words in the frame, above or below."""

    # The mouse

    def on_click(self, event: Click) -> None:
        """Do what the piece under the mouse stands for."""
        event.stop()
        inner = event.get_content_offset(self)
        if inner is None:
            if event.y in (0, self.outer_size.height - 1):
                self.framed(event.y == 0)
            return
        y = inner.y + int(self.scroll_offset.y)
        shown = self._strips.get(y)
        action = action_at(shown[0], inner.x) if shown is not None else ""
        if action:
            self.post_message(Act(action))
            return
        try:
            self.clicked(inner.x, y)
        except (OptraceError, OSError) as error:
            self.post_message(Damaged(str(error)))

    # Drawing

    def show(self) -> None:
        """Draw what has changed since the last time."""
        width, height = self.scrollable_content_region.size
        if not width or not height or not self.display:
            self._shown = Size(0, 0)
            return
        try:
            count = self.prepare(width, height)
        except (OptraceError, OSError) as error:
            self._fail(error)
            return
        if self.virtual_size != Size(width, count):
            # Not as a change that lays out the whole screen: only whether there is a scroll bar would.
            self.set_reactive(Lines.virtual_size, Size(width, count))
            self._scroll_update(self.virtual_size)
            width = self.scrollable_content_region.width
        self._shown = Size(width, height)
        known, self._strips = self._strips, OrderedDict()
        if self._drawn != (width, self.app.theme):
            self._drawn = (width, self.app.theme)
            known.clear()
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = self.scroll_y  # where `prepare` has scrolled, too
        top, before = self.scroll_offset.y, self._scrolled
        self._scrolled = top
        changed: list[Region] = []
        for row in range(height):
            line, old = self._fitted(top + row, width), known.get(top + row)
            if old is not None and old[0] == line:
                self._strips[top + row] = old
            else:
                self._strips[top + row] = (line, paint(self.app, line))
                changed.append(Region(0, row, width, 1))
        if top != before or len(changed) > height // 2:
            self.refresh()
        elif changed:
            self.refresh(*changed)

    def recolour(self) -> None:
        """Draw the same lines in the colours of another theme."""
        self._drawn = (self._drawn[0], self.app.theme)
        for y, (line, _) in self._strips.items():
            self._strips[y] = (line, paint(self.app, line))
        self.refresh()

    def repaint(self) -> None:
        """Draw everything anew."""
        self._strips.clear()
        self.show()
        self.refresh()

    def _strip(self, y: int, width: int) -> Strip:
        found = self._strips.get(y)
        if found is None:
            line = self._fitted(y, width)
            found = self._strips[y] = (line, paint(self.app, line))
            if len(self._strips) > _KEPT:
                self._strips.popitem(last=False)
        return found[1]

    def _fitted(self, y: int, width: int) -> Line:
        try:
            return fit(self.line(y, width), width)
        except (OptraceError, OSError) as error:
            self.post_message(Damaged(str(error)))
            return fit([Span(str(error), "bad")], width)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # worked out from all ancestors: once for all lines
        self._drawing = True
        try:
            return super().render_lines(crop)
        finally:
            self._drawing = False

    def get_line_filters(self) -> list[LineFilter]:
        """All but the one for a terminal's own colours: nothing here is drawn in them, and it takes a while."""
        return [each for each in self.app.get_line_filters() if not isinstance(each, ANSIToTruecolor)]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if self._drawn != (width, self.app.theme):
            self.show()
        return self._strip(self.scroll_offset.y + y, width).apply_style(self._base)

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        changed = super()._size_updated(size, virtual_size, container_size, layout)
        self.on_resize()  # what is drawn next is drawn for this size
        return changed

    def on_resize(self) -> None:
        if self._shown != self.scrollable_content_region.size or not self._strips:
            self._strips.clear()
            self.show()

    def _fail(self, error: Exception) -> None:
        # Drawn at this width, even so: else each line of it would be tried anew, and that without end.
        self._shown = self.scrollable_content_region.size
        width = max(1, self._shown.width)
        self._drawn = (width, self.app.theme)
        self._strips.clear()
        for y, line in enumerate(wrap([Span(str(error), "bad")], width)):
            self._strips[y] = (line, paint(self.app, fit(line, width)))
        self.post_message(Damaged(str(error)))
        self.refresh()


def paint(app: App[Any], line: Line) -> Strip:
    """A line in the app's colours."""
    dark = app.current_theme.dark
    colour = not app.no_color
    poor = getattr(app, "ascii_only", False)
    pieces: list[Segment] = []
    role, texts = "", [""]
    for span in [*line, Span("", "end")]:
        if span.role != role:  # one piece for all that look the same: each costs a terminal's sequence
            text = "".join(texts)
            if text:
                pieces.append(Segment(ascii_only(text) if poor else text, style_of(role, dark, colour)))
            role, texts = span.role, []
        texts.append(span.text)
    return Strip(pieces)
