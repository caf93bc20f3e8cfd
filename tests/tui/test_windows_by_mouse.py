"""Windows and questions by mouse alone: opened, answered and left without a key but for what is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from optrace.tui.screens.listing import EntryLines, Listing
from optrace.tui.screens.prompt import Completions, Prompt
from tests.tui.conftest import Opened
from tests.tui.drawing import click, click_on, press, screen_text, spots, until

SIZES = [(80, 24), (120, 36)]
both_sizes = pytest.mark.parametrize("size", SIZES)
Size = tuple[int, int]


@both_sizes
async def test_windows_by_mouse_alone(no_zero: Path, opened: Opened, size: Size) -> None:
    async with opened(no_zero, size=size) as (app, pilot):
        await click_on(app, pilot, "1 error")
        assert isinstance(app.screen, Listing)
        await click_on(app, pilot, "OT101")
        assert app.session.position(app.session.seq) == "1:1"
        for way in ("Esc close", "outside"):
            await click_on(app, pilot, "1 error")
            assert isinstance(app.screen, Listing)
            await (click_on(app, pilot, way) if way != "outside" else click(app, pilot, 0, 0))
            assert app.screen is app.main
        await click_on(app, pilot, "OT101")  # told in the pane of what happened
        assert isinstance(app.screen, Listing)
        await click_on(app, pilot, "Enter go there")
        assert app.screen is app.main


@both_sizes
async def test_conditions_by_mouse_alone(network: Path, opened: Opened, size: Size) -> None:
    async with opened(network, size=size) as (app, pilot):
        help_at = next(spot for spot in spots(app) if spot.action == "help")

        async def conditions() -> Listing:
            await press(app, pilot, "escape")  # what is noted in the last line gives way to its keys
            await click(app, pilot, help_at.x, help_at.y)
            b = next(spot for spot in spots(app) if spot.action == "below('conditions')")
            await click(app, pilot, b.x, b.y)
            assert isinstance(app.screen, Listing)
            return app.screen

        for typed in ("isnan(loss)", 'kind == "step"'):
            await conditions()
            await click_on(app, pilot, "a add")
            assert isinstance(app.screen, Prompt)
            await pilot.press(*typed)
            await click_on(app, pilot, "Enter ok")
            await click_on(app, pilot, "Esc close")
        window = await conditions()
        body = window.query_one(EntryLines)
        await click_on(app, pilot, 'kind == "step"')
        assert app.screen is window
        assert body.chosen == 1  # the first click chooses, the second runs
        await click_on(app, pilot, 'kind == "step"')
        assert app.session.event.kind == "step"
        await conditions()
        await click_on(app, pilot, 'kind == "step"')
        await click_on(app, pilot, "d delete")
        assert [condition.text for condition in app.session.view.conditions] == ["isnan(loss)"]
        await click_on(app, pilot, "Enter run to it")
        assert app.session.event.iteration == 9


@both_sizes
async def test_questions_by_mouse_alone(network: Path, opened: Opened, size: Size) -> None:
    async with opened(network, size=size) as (app, pilot):
        await click_on(app, pilot, "iteration 0")
        assert isinstance(app.screen, Prompt)
        await pilot.press(*"50%")
        await click_on(app, pilot, "Enter ok")
        assert app.session.seq == 14
        await press(app, pilot, "c", *"grad_n")
        first = app.screen.query_one(Completions).region
        await click(app, pilot, first.x + 3, first.y)
        assert app.screen.query_one(Input).value.startswith("grad_n")
        await pilot.press(*" > 0")  # what was clicked has not taken the keys away
        assert app.screen.query_one(Input).value.endswith(" > 0")
        await click_on(app, pilot, "Esc cancel")
        assert app.screen is app.main
        await press(app, pilot, "c", "g", "r")
        await click_on(app, pilot, "Tab complete")
        assert "grad" in app.screen.query_one(Input).value
        await click(app, pilot, 1, 1)
        assert app.screen is app.main


async def test_what_runs_is_stopped_by_mouse(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await pilot.press("space")
        assert app.main.playing
        await click_on(app, pilot, "faster")
        assert app.main.pace == 8
        await click_on(app, pilot, "slower")
        await click_on(app, pilot, "Space stop")
        assert not app.main.playing
        await press(app, pilot, "m")
        assert "Marked" in screen_text(app)
        assert "iteration" in (await click_on(app, pilot, "Marked")).splitlines()[-1]  # a note goes away


async def test_the_palette_by_mouse(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await press(app, pilot, "question_mark", "end")
        palette = next(spot for spot in spots(app) if "command_palette" in spot.action)
        await pilot.click(offset=(palette.x, palette.y))
        await until(app, pilot, lambda: len(app.screen.query(OptionList)) > 0)
        await pilot.press(*"Iteration on")
        await until(app, pilot, lambda: "Iteration on" in screen_text(app))
        await pilot.pause(0.3)
        listed = app.screen.query_one(OptionList).region
        await pilot.click(offset=(listed.x + 4, listed.y + 1))
        await until(app, pilot, lambda: app.screen is app.main and app.session.seq > 0)
        assert app.session.position(app.session.seq) == "1:0"
