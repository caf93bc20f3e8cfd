"""The main screen: the panes, and the keys that move through the trace."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.screen import Screen

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.messages import Act, Damaged, ElementChosen, GoTo, RowChosen, SortChosen
from optrace.tui.screens.asking import Asking
from optrace.tui.screens.background import Background
from optrace.tui.widgets.inspector import InspectorPane
from optrace.tui.widgets.keybar import KeyBar
from optrace.tui.widgets.lines import Lines
from optrace.tui.widgets.panebar import PANES, PaneBar
from optrace.tui.widgets.source import SourcePane
from optrace.tui.widgets.story import StoryPane
from optrace.tui.widgets.table import TablePane
from optrace.tui.widgets.timeline import TimelinePane
from optrace.tui.widgets.topbar import TopBar

NARROW, WIDE, LOW = 100, 160, 30


class MainScreen(Background, Asking, Screen[None]):
    """Stepping through a trace."""

    CSS = """
    MainScreen { layout: vertical; background: $background; overflow: hidden; }
    #body { layout: grid; grid-size: 2 2; grid-columns: 2fr 3fr; grid-rows: 5fr 6fr; height: 1fr; }
    MainScreen.-wide #body { grid-columns: 3fr 5fr; }
    MainScreen.-narrow #body { layout: vertical; }
    MainScreen.-narrow #panes { display: block; }
    MainScreen.-narrow #story { dock: top; height: 6; }
    MainScreen.-narrow #source, MainScreen.-narrow #table, MainScreen.-narrow #inspector { display: none; height: 1fr; }
    MainScreen.-narrow .-shown { display: block !important; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "event(-1)", "Event back"),
        Binding("right,l", "event(1)", "Event on"),
        Binding("left_square_bracket", "iteration(-1)", "Iteration back"),
        Binding("right_square_bracket", "iteration(1)", "Iteration on"),
        Binding("home", "edge(False)", "First event"),
        Binding("end,G", "edge(True)", "Last event, follow"),
        Binding("n", "finding(True)", "Next finding"),
        Binding("N", "finding(False)", "Previous finding"),
        Binding("w", "write(True)", "Next write of this value"),
        Binding("W", "write(False)", "Previous write of this value"),
        Binding("c", "run(True)", "Run on to condition"),
        Binding("C", "run(False)", "Run back to condition"),
        Binding("b", "conditions", "Conditions"),
        Binding("g,colon", "go_to", "Go to"),
        Binding("m", "mark", "Set mark"),
        Binding("d", "compare", "Compare mark with here"),
        Binding("apostrophe", "back", "Back to where I was"),
        Binding("space", "play", "Play"),
        Binding("plus,equals_sign", "speed(2)", "Play faster"),
        Binding("minus", "speed(0.5)", "Play slower"),
        Binding("s", "picture", "Save a picture"),
        Binding("f", "findings", "Findings"),
        Binding("question_mark,f1", "help", "Help"),
        Binding("slash", "filter", "Filter parameters"),
        Binding("o", "sort", "Sort parameters"),
        Binding("down,j", "row(1)", "Next parameter"),
        Binding("up,k", "row(-1)", "Previous parameter"),
        Binding("pagedown", "page(1)", "Page of parameters down"),
        Binding("pageup", "page(-1)", "Page of parameters up"),
        *[
            Binding(str(number), f"tab({name!r})", f"{name.title()} tab")
            for number, name in enumerate(("gradient", "update", "state", "values", "history"), 1)
        ],
        Binding("tab", "turn_pane(1)", "Next tab or pane", priority=True),
        Binding("shift+tab", "turn_pane(-1)", "Previous tab or pane", priority=True),
        Binding("v", "turn_kind(1)", "Next value of the parameter"),
        Binding("V", "turn_kind(-1)", "Previous value of the parameter"),
        Binding("x", "look_on", "Heat map, numbers, histogram; statistic"),
        Binding("y", "log", "Linear or log axis"),
        Binding("H,shift+left", "element(0, -1)", "Element left"),
        Binding("L,shift+right", "element(0, 1)", "Element right"),
        Binding("K,shift+up", "element(-1, 0)", "Element up"),
        Binding("J,shift+down", "element(1, 0)", "Element down"),
        Binding("comma", "slice(-1)", "Previous slice"),
        Binding("full_stop", "slice(1)", "Next slice"),
        Binding("ctrl+down", "scroll_inspector(1)", "Scroll the inspector down"),
        Binding("ctrl+up", "scroll_inspector(-1)", "Scroll the inspector up"),
        Binding("less_than_sign", "slide(-8)", "Source left"),
        Binding("greater_than_sign", "slide(8)", "Source right"),
        Binding("t", "theme", "Dark or light"),
        Binding("escape", "escape", "Stop, clear"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.topbar = TopBar(session)
        self.timeline = TimelinePane(session)
        self.panebar = PaneBar()
        self.source = SourcePane(session)
        self.table = TablePane(session)
        self.story = StoryPane(session)
        self.inspector = InspectorPane(session)
        self.keybar = KeyBar()

    def compose(self) -> ComposeResult:
        yield self.topbar
        yield self.timeline
        with Container(id="body"):
            yield self.panebar
            yield self.source
            yield self.table
            yield self.story
            yield self.inspector
        yield self.keybar

    @property
    def panes(self) -> tuple[Lines, ...]:
        return (
            self.topbar,
            self.timeline,
            self.source,
            self.table,
            self.story,
            self.inspector,
            self.panebar,
            self.keybar,
        )

    def on_mount(self) -> None:
        self._arrange(self.app.size.width, self.app.size.height)
        self.start_background()

    def on_resize(self, event: Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        narrow = width < NARROW or height < LOW
        self.set_class(narrow, "-narrow")
        self.set_class(not narrow and width >= WIDE, "-wide")
        self.story.compact = narrow
        if narrow:
            self.timeline.take_rows(1, 2 if height >= 28 else 1)
        else:
            self.timeline.take_rows(3 if height >= 44 else 2, 6 if height >= 44 else 3)
        self._show_pane(self.panebar.shown)
        self.call_after_refresh(self.redraw)

    @property
    def narrow(self) -> bool:
        return self.has_class("-narrow")

    def redraw(self) -> None:
        """Draw what has changed."""
        for pane in self.panes:
            pane.show()
        self.want_history()

    def repaint(self) -> None:
        """Draw everything anew."""
        for pane in self.panes:
            pane.repaint()

    def note(self, words: str, role: str = "") -> None:
        """Say something in the last line until the next key."""
        self.keybar.say([Span(words, role)] if words else [])

    def quiet(self) -> None:
        """Take the note back, unless something is running."""
        if not self.running:
            self.keybar.say(self.playing_note())

    # Moving

    def moved(self, done: bool, otherwise: str = "") -> None:
        """After something that may have moved the cursor."""
        self.stop_search()
        self.quiet()
        if not done and otherwise:
            self.note(otherwise, "dim")
        self.redraw()

    def action_event(self, by: int) -> None:
        self.session.follow = False
        done = self.session.cursor.move(by)
        self.moved(done, "This is the last event." if by > 0 else "This is the first event.")

    def action_iteration(self, by: int) -> None:
        self.session.follow = False
        done = self.session.cursor.turn(by)
        self.moved(done, "This is the last iteration." if by > 0 else "This is the first iteration.")

    def action_edge(self, last: bool) -> None:
        cursor = self.session.cursor
        self.session.follow = last and not self.session.trace.complete
        done = cursor.jump(cursor.last if last else 0)
        self.moved(done)
        if self.session.follow:
            self.note("Following the newest event; any step back stops that.", "finding-hint")

    def action_finding(self, forward: bool) -> None:
        session = self.session
        done = session.next_finding(forward)
        if not len(session.findings):
            words = "Nothing was found in this trace." if session.findings.ready else "Still checking …"
        else:
            words = f"No {'later' if forward else 'earlier'} finding."
        self.moved(done, words)

    def action_write(self, forward: bool) -> None:
        session = self.session
        done = session.next_write(forward)
        name = session.selected.name if session.selected else ""
        self.moved(done, f"Nothing {'later' if forward else 'earlier'} wrote {session.written_kind} of {name}.")
        if done:
            self.note(f"{session.event.kind} wrote {session.written_kind} of {name}.", "changed")

    def action_back(self) -> None:
        self.moved(self.session.cursor.back(), "There is nowhere to go back to yet.")

    @on(GoTo)
    def _go_to(self, message: GoTo) -> None:
        message.stop()
        cursor = self.session.cursor
        self.session.follow = False
        self.moved(cursor.jump(message.seq, remember=not message.dragging))

    def action_mark(self) -> None:
        session = self.session
        session.mark = None if session.mark == session.seq else session.seq
        self.note(
            "Mark taken away."
            if session.mark is None
            else f"Marked {session.position(session.seq)}. d compares it with where you are then.",
            "mark",
        )
        self.redraw()

    # Parameters

    def action_row(self, by: int) -> None:
        self._choose(self.session.row + by)

    def action_page(self, by: int) -> None:
        self._choose(self.session.row + by * max(1, self.table.size.height - 4))

    def _choose(self, row: int) -> None:
        self.session.choose(row)
        self.quiet()
        self.redraw()
        self.table.reveal()

    @on(RowChosen)
    def _row_chosen(self, message: RowChosen) -> None:
        message.stop()
        if message.row < len(self.session.rows):
            self._choose(message.row)

    @on(SortChosen)
    def _sort_chosen(self, message: SortChosen) -> None:
        message.stop()
        self.sort_by(message.key)

    # The inspector

    def action_tab(self, name: str) -> None:
        self.session.view.tab = name
        if self.narrow:
            self._show_pane("inspector")
        self.quiet()
        self.redraw()

    def action_turn_tab(self, by: int) -> None:
        self.session.turn_tab(by)
        self.redraw()

    def action_turn_pane(self, by: int) -> None:
        if not self.narrow:
            self.action_turn_tab(by)
            return
        names = [name for name, _ in PANES]
        self.action_pane(names[(names.index(self.panebar.shown) + by) % len(names)])

    def action_pane(self, name: str) -> None:
        self._show_pane(name)
        self.call_after_refresh(self.redraw)

    def _show_pane(self, name: str) -> None:
        self.panebar.shown = name
        for pane in (self.source, self.table, self.inspector):
            pane.set_class(pane.id == name, "-shown")
        self.panebar.repaint()

    def action_turn_kind(self, by: int) -> None:
        self.session.turn_kind(by)
        if self.session.view.tab not in ("values", "history"):
            self.session.view.tab = "values"
        self.redraw()

    def action_kind(self, kind: str) -> None:
        self.session.view.kind = kind
        self.redraw()

    def action_view(self, view: str) -> None:
        self.session.view.view = view
        self.redraw()

    def action_statistic(self, by: int) -> None:
        self.session.turn_statistic(by)
        self.redraw()

    def action_look_on(self) -> None:
        if self.session.view.tab == "history":
            self.session.turn_statistic(1)
        elif self.session.view.tab == "values":
            self.session.turn_view(1)
        else:
            self.session.view.tab = "values"
        self.redraw()

    def action_log(self) -> None:
        self.session.view.log = not self.session.view.log
        if self.session.view.tab != "history":
            self.session.view.tab = "history"
        self.redraw()

    def action_element(self, rows: int, columns: int) -> None:
        session = self.session
        if session.selected is not None:
            grid = self.inspector.grid()
            session.view.place = grid.step(session.place, rows, columns)
            self.redraw()

    def action_slice(self, by: int) -> None:
        session = self.session
        if session.selected is not None:
            session.view.place = self.inspector.grid().turn(session.place, by)
            self.redraw()

    @on(ElementChosen)
    def _element_chosen(self, message: ElementChosen) -> None:
        message.stop()
        self.session.view.place = message.place
        self.redraw()

    def action_scroll_inspector(self, by: int) -> None:
        self.inspector.scroll_relative(y=3 * by, animate=False, force=True)

    def action_slide(self, by: int) -> None:
        self.source.slide(by)

    # The rest

    @on(Act)
    async def _act(self, message: Act) -> None:
        message.stop()
        await self.run_action(message.action)

    @on(Damaged)
    def _damaged(self, message: Damaged) -> None:
        message.stop()
        self.topbar.status = [Span("✗ the trace cannot be read", "bad")]
        self.note(message.reason, "bad")
        self.topbar.show()

    def action_theme(self) -> None:
        self.app.theme = "optrace-light" if self.app.current_theme.dark else "optrace-dark"

    def action_escape(self) -> None:
        session = self.session
        if self.running:
            self.stop_search()
            self.note("Stopped.", "dim")
        elif self.playing:
            self.action_play()
        elif session.view.filter:
            self.set_filter("")
        else:
            self.quiet()

    def playing_note(self) -> Line:
        """What the last line says while playing."""
        if not self.playing:
            return []
        return [
            Span("⏵ playing ", "fresh bold"),
            Span(f"{self.pace:g} events a second   ", "dim"),
            Span("Space", "key"),
            Span(" stop   ", "dim"),
            Span("+ −", "key"),
            Span(" speed", "dim"),
        ]
