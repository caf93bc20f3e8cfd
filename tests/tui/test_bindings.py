"""Each key that is bound, on each screen, does what it is bound to. A key that no line below tries fails the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.binding import Binding, BindingType

from optrace.tui.app import ViewApp
from optrace.tui.core.session import View
from optrace.tui.screens.listing import EntryLines, Listing
from optrace.tui.screens.main import MainScreen
from optrace.tui.screens.prompt import Prompt
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

Seen = Callable[[ViewApp], object]
"""What a key did, as a value to compare."""


def at(app: ViewApp) -> int:
    return app.session.seq


def tab(app: ViewApp) -> str:
    return app.session.view.tab


def place(app: ViewApp) -> tuple[int, ...]:
    return app.session.place


def row(app: ViewApp) -> int:
    return app.session.row


def says(words: str) -> Seen:
    return lambda app: words in screen_text(app)


MAIN: tuple[tuple[str, str, Seen, object], ...] = (
    # Keys before, from the seventh of thirty events; the keys tried; what is looked at; what it then is
    ("", "left h", at, 5), ("", "right l", at, 7), ("", "left_square_bracket", at, 3),
    ("", "right_square_bracket", at, 9), ("", "home", at, 0), ("", "end G", at, 29),
    ("", "n", at, 28), ("end", "N", at, 28), ("", "w", at, 7), ("", "W", at, 4),
    ("", "c C", says("Run to where"), True), ("", "b", says("Conditions"), True),
    ("", "g colon", says("Go to"), True), ("", "m", says("Marked 2:0"), True), ("", "d", says("Set a mark"), True),
    ("", "r R a", says("one process"), True), ("home", "apostrophe", at, 6), ("", "space", says("playing"), True),
    ("", "plus equals_sign", lambda app: app.main.pace, 8), ("", "minus", lambda app: app.main.pace, 2),
    ("", "s", says("Saved"), True), ("", "f", says("Findings"), True),
    ("", "question_mark f1", says("Through the run"), True), ("", "slash", says("Filter"), True),
    ("", "o", lambda app: app.session.view.sort, "name"), ("", "down j", row, 1), ("down down", "up k", row, 1),
    ("", "pagedown", row, 3), ("pagedown", "pageup", row, 0), ("", "1", tab, "gradient"), ("", "2", tab, "update"),
    ("", "3", tab, "state"), ("", "4", tab, "values"), ("", "5", tab, "history"), ("", "tab", tab, "update"),
    ("", "shift+tab", tab, "history"), ("4", "v", lambda app: app.session.view.kind, "step"),
    ("4", "V", lambda app: app.session.view.kind, "param"), ("4", "x", lambda app: app.session.view.view, "numbers"),
    ("5", "y", lambda app: app.session.view.log, True), ("4", "L shift+right", place, (0, 0, 0, 1)),
    ("4 L", "H shift+left", place, (0, 0, 0, 0)), ("4", "J shift+down", place, (0, 0, 1, 0)),
    ("4 J", "K shift+up", place, (0, 0, 0, 0)), ("4", "full_stop", place, (1, 0, 0, 0)),
    ("4 full_stop", "comma", place, (0, 0, 0, 0)),
    ("2", "ctrl+down", lambda app: app.main.inspector.scroll_offset.y > 0, True),
    ("2 ctrl+down", "ctrl+up", lambda app: app.main.inspector.scroll_offset.y, 0),
    ("", "greater_than_sign", lambda app: app.main.source.shift, 8),
    ("greater_than_sign", "less_than_sign", lambda app: app.main.source.shift, 0),
    ("", "t", lambda app: app.theme, "optrace-light"), ("space", "escape", lambda app: app.main.playing, False),
    ("", "q", lambda app: app._exit, True),
)  # fmt: skip


def bound(bindings: list[BindingType]) -> set[str]:
    found: set[str] = set()
    for binding in bindings:
        assert isinstance(binding, Binding)
        found |= set(binding.key.split(","))
    return found


def begin(app: ViewApp) -> None:
    """As it was when it was opened, at the seventh event."""
    session, app.main.pace, app.theme = app.session, 4, "optrace-dark"
    if app.main.playing:
        app.main.action_play()
    session.view, session.mark, app.main.source.shift = View(), None, 0
    session.use_order("order", [])
    session.choose(0)
    session.cursor.jump(6)
    app.main.note("")
    app.main.redraw()


def test_every_key_of_the_main_screen_is_tried() -> None:
    assert bound(MainScreen.BINDINGS) == {key for _, keys, _, _ in MAIN for key in keys.split()}


@pytest.mark.parametrize("part", range(4))
async def test_what_each_key_does(
    network: Path, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(network, size=(120, 32)) as (app, pilot):
        for before, keys, seen, expected in MAIN[part::4]:
            for key in keys.split():
                begin(app)
                await press(app, pilot, *before.split())
                await (pilot.press(key) if key == "q" else press(app, pilot, key))
                assert seen(app) == expected, key
                if app.screen is not app.main:
                    await press(app, pilot, "escape")


async def test_every_key_of_a_list_is_tried(network: Path, opened: Opened) -> None:
    tried = set()
    async with opened(network) as (app, pilot):

        async def chosen(*keys: str) -> int:
            tried.update(keys)
            await press(app, pilot, *keys)
            assert isinstance(app.screen, Listing)
            return app.screen.query_one(EntryLines).chosen

        for number in "123":  # conditions to walk among
            await press(app, pilot, "b", "a", *"loss > ", number, "enter", "escape")
        await press(app, pilot, "b")
        tried.add("a")
        top = await chosen("home")
        assert await chosen("down") == await chosen("up", "j") == top + 1
        assert await chosen("k") == top
        assert await chosen("end") == await chosen("home", "pagedown") == await chosen("home", "space") > top
        assert await chosen("pageup") == top
        for key in ("d", "delete"):
            count = len(app.session.view.conditions)
            await chosen(key)
            assert len(app.session.view.conditions) == count - 1
        for key in ("enter", "escape", "q", "question_mark"):
            tried.add(key)
            await press(app, pilot, key)
            assert app.screen is app.main
            await press(app, pilot, "b" if key != "enter" else "f")
            assert isinstance(app.screen, Listing)
    assert tried == bound(Listing.BINDINGS)


async def test_every_key_of_a_question_is_tried(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        assert "grad_norm" in await press(app, pilot, "c", *"grad_n", "tab")
        assert "grad_norm" in await press(app, pilot, *["backspace"] * 9, *"gr", "down", "up", "tab")
        assert isinstance(app.screen, Prompt)
        await press(app, pilot, "escape")
        assert app.screen is app.main
    assert bound(Prompt.BINDINGS) == {"tab", "down", "up", "escape"}
