"""The mouse: whatever is drawn and stands for something answers to it.

What stands for an action is not listed here. It is read off the screen, piece by piece, and clicked.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import MouseScrollDown

from optrace.tui.app import ViewApp
from optrace.tui.core.spans import plain
from optrace.tui.screens.help import HELP
from optrace.tui.screens.keys import KEYS, signs
from tests.tui.conftest import Opened
from tests.tui.drawing import click, press, settle, spots, wheel
from tests.tui.test_bindings import MAIN, begin

SIZES = [(80, 24), (120, 36)]


def state(app: ViewApp) -> tuple[object, ...]:
    """Whatever a click may change."""
    main, session = app.main, app.session
    title = getattr(app.screen, "_title", "")
    note = plain(main.keybar.note)
    looks = (main.panebar.shown, main.source.shift, main.inspector.scroll_offset.y, main.table.scroll_offset.y)
    return (session.seq, repr(session.view), session.row, session.mark, type(app.screen).__name__, title, app.theme,
            main.playing, main.pace, note, looks, app._exit)  # fmt: skip


def changes_nothing(app: ViewApp, action: str) -> bool:
    """Whether an action is about what is so already."""
    view, shown = app.session.view, app.main.panebar.shown
    return action in (
        f"tab({view.tab!r})", f"kind({view.kind!r})", f"view({view.view!r})", f"pane({shown!r})",
        f"go({app.session.seq})", "slide(-8)", "slice(-1)",
    )  # fmt: skip


TABS = ("gradient", "update", "state", "values", "history")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tab", TABS)
async def test_every_piece_that_stands_for_an_action_does_it(
    network: Path, opened: Opened, tab: str, size: tuple[int, int]
) -> None:
    """Each on the main screen is clicked, and does what its action does."""
    async with opened(network, size=size) as (app, pilot):

        async def ready() -> None:
            begin(app)
            app.session.view.tab = tab
            app.main.show_pane("inspector")
            app.main.inspector.scroll_to(y=0, animate=False, force=True)
            app.main.redraw()
            await press(app, pilot)

        await ready()
        found = [spot for spot in spots(app) if spot.action != "app.quit"]
        assert {spot.pane for spot in found} >= {"topbar", "timeline", "inspector", "keys"}
        for spot in found:
            await ready()
            before, idle = state(app), changes_nothing(app, spot.action)
            await click(app, pilot, spot.x, spot.y)
            after = state(app)
            assert (before == after) == idle, spot
            if app.screen is not app.main:
                await press(app, pilot, "escape")
            await ready()
            await app.main.run_action(spot.action)
            await settle(app, pilot)
            assert state(app) == after, spot
            if app.screen is not app.main:
                await press(app, pilot, "escape")


# Every key has a place to click: in the window of help, all of them

HELPED = {sign for _, rows in HELP for keys, _ in rows for sign in keys.split()}


def test_help_shows_every_key() -> None:
    assert {signs(binding)[0] for binding in KEYS} <= HELPED


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
async def test_each_key_can_be_clicked_in_the_help(
    network: Path, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.chdir(tmp_path)
    bindings = {key: binding for binding in KEYS for key in binding.key.split(",")}
    async with opened(network, size=(80, 24)) as (app, pilot):
        for before, keys, seen, expected in MAIN[part::4]:
            key = keys.split()[0]
            begin(app)
            app.main.show_pane("inspector" if "ctrl" in key else "table")
            await press(app, pilot, *before.split())
            await press(app, pilot, "question_mark")
            action = f"below({bindings[key].action!r})"
            for _ in range(40):
                there = [spot for spot in spots(app) if spot.action == action]
                if there:
                    break
                await wheel(app, pilot, MouseScrollDown, 40, 12)
            if key == "q":
                await pilot.click(offset=(there[0].x, there[0].y))
                await pilot.pause()
            else:
                await click(app, pilot, there[0].x, there[0].y)
            if key not in ("pagedown", "tab", "shift+tab"):  # other panes, another height
                assert seen(app) == expected, key
            if app.screen is not app.main:
                await press(app, pilot, "escape")
