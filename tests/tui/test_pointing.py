"""The mouse where a place counts and no word: timeline, charts, values, code, lists, wheels, scroll bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import MouseScrollDown, MouseScrollLeft, MouseScrollRight, MouseScrollUp
from textual.geometry import Region
from textual.scrollbar import ScrollBar

from optrace.tui.app import ViewApp
from optrace.tui.core.canvas import AXIS
from optrace.tui.core.tabs.values import HEAD, margin_of
from optrace.tui.core.timeline import LABEL
from optrace.tui.widgets.lines import Lines
from tests.tui.conftest import Opened
from tests.tui.drawing import click, click_on, press, screen_text, settle, spots, until, wheel

SIZES = [(80, 24), (120, 36)]
both_sizes = pytest.mark.parametrize("size", SIZES)
Size = tuple[int, int]


def inside(pane: Lines) -> Region:
    """Where a pane's lines are drawn."""
    return pane.content_region


async def inspect(app: ViewApp, pilot: object, *keys: str) -> Region:
    """Open a tab of the inspector, in view on a narrow screen too."""
    await press(app, pilot, *keys)  # type: ignore[arg-type]
    app.main.show_pane("inspector")
    app.main.redraw()
    await press(app, pilot)  # type: ignore[arg-type]
    return inside(app.main.inspector)


@both_sizes
async def test_the_timeline_is_dragged_and_clicked(network: Path, opened: Opened, size: Size) -> None:
    async with opened(network, size=size) as (app, pilot):
        timeline, session = app.main.timeline, app.session
        region = inside(timeline)
        columns = session.machine.timeline.strip_width(region.width)
        for y in range(timeline.loss_rows + 1):  # the loss and the overview: the whole run
            await press(app, pilot, "home")
            await click(app, pilot, region.x + LABEL + columns // 2, region.y + y)
            assert session.seq == 15
        await click(app, pilot, region.x + 1, region.y)
        assert session.seq == 15  # a label stands for nothing
        await press(app, pilot, "home", "right")
        begin = region.x + LABEL + 4, region.y + timeline.loss_rows
        await pilot.mouse_down(offset=begin)
        await pilot.hover(offset=(begin[0] + columns // 2, begin[1] + 3))
        await pilot.pause()
        middle = session.seq
        assert 14 < middle < 20
        await pilot.hover(offset=(size[0] - 1, begin[1]))
        await pilot.mouse_up(offset=(size[0] - 1, begin[1]))
        assert session.seq == 29
        await press(app, pilot, "apostrophe")  # a drag is one jump
        assert session.seq == 1


@both_sizes
async def test_the_lanes_are_dragged_and_clicked(many_turns: Path, opened: Opened, size: Size) -> None:
    async with opened(many_turns, size=size) as (app, pilot):
        await press(app, pilot, "g", *"50%", "enter")
        session, region = app.session, inside(app.main.timeline)
        y = region.y + app.main.timeline.loss_rows + 1
        here, first = session.seq, session.machine.timeline.window(session.seq, region.width)[0]
        column = region.x + LABEL + 1 + 2 * (here - first)
        await click(app, pilot, column + 6, y)
        assert session.seq == here + 3
        await pilot.mouse_down(offset=(column, y))
        await pilot.hover(offset=(column - 10, y))
        await pilot.hover(offset=(column - 20, y))
        await pilot.mouse_up(offset=(column - 20, y))
        await settle(app, pilot)
        assert session.seq == here + 3 - 10


async def test_marks_on_the_timeline_are_gone_to(no_zero_long: Path, opened: Opened) -> None:
    """A column stands for many events; the click goes to the one that is marked."""
    async with opened(no_zero_long, size=(80, 24)) as (app, pilot):
        session, region = app.session, inside(app.main.timeline)
        columns = session.machine.timeline.strip_width(region.width)
        assert len(session.trace.events) > 3 * columns
        first = session.findings.all[0].seq
        assert first != session.machine.timeline.seq_at(session.machine.timeline.column_of(first, columns), columns)
        y = region.y + app.main.timeline.loss_rows
        await press(app, pilot, "end")
        await click(app, pilot, region.x + LABEL + session.machine.timeline.column_of(first, columns), y)
        assert session.seq == first
        await press(app, pilot, "g", *"70%", "enter", "right", "m", "home")
        marked = session.mark
        assert marked is not None
        await click_on(app, pilot, "◆")
        assert session.seq == marked


@both_sizes
async def test_a_chart_is_clicked_and_dragged(network: Path, opened: Opened, size: Size) -> None:
    async with opened(network, size=size) as (app, pilot):
        region = await inspect(app, pilot, "5", "x", "x", "x", "x", "x")
        session, y = app.session, region.y + 5
        assert session.view.statistic == "loss"
        wide = app.main.inspector.scrollable_content_region.width - 2 - AXIS
        left = region.x + 1 + AXIS
        await click(app, pilot, left + wide - 1, y)
        assert session.seq == 29
        await click(app, pilot, left, y)
        assert session.seq == 0
        await pilot.mouse_down(offset=(left + wide // 2, y))
        await pilot.hover(offset=(left + wide // 2 + 5, y))
        await pilot.hover(offset=(0, 0))
        await pilot.mouse_up(offset=(0, 0))
        await settle(app, pilot)
        assert session.seq == 0
        await click(app, pilot, left - 4, y)  # the axis
        assert session.seq == 0


@both_sizes
@pytest.mark.parametrize("view", ["heat map", "numbers"])
async def test_a_cell_picks_its_element(network: Path, opened: Opened, size: Size, view: str) -> None:
    async with opened(network, size=size) as (app, pilot):
        await press(app, pilot, "end", "4", "V", *([] if view == "heat map" else ["x"]), "down", "down")
        region = await inspect(app, pilot)
        session, look = app.session, app.session.look
        assert session.selected is not None
        assert session.selected.name == "2.weight"
        assert look.view == view
        top = region.y + app.main.inspector._top + HEAD + 1
        x = region.x + 1 + margin_of(session.selected.shape)
        for row, column in ((2, 3), (0, 1), (1, 0)):
            text = await click(app, pilot, x + column * look.cell + look.cell // 2, top + row)
            assert session.place == (row, column)
            assert f"element [{row}, {column}]" in text
        if view == "heat map":
            await click(app, pilot, x + 8 * look.cell + 1, top)  # beside the matrix
            assert session.place == (1, 0)
        await wheel(app, pilot, MouseScrollRight, x, top)
        await wheel(app, pilot, MouseScrollDown, x, top)
        assert session.place == (2, 3)
        await wheel(app, pilot, MouseScrollUp, x, top)
        await wheel(app, pilot, MouseScrollLeft, x, top)
        assert session.place == (0, 0)


async def test_lines_of_code_lead_to_their_events(no_zero: Path, opened: Opened) -> None:
    async with opened(no_zero) as (app, pilot):
        source, session = app.main.source, app.session
        rows = screen_text(app).splitlines()
        y = next(y for y, row in enumerate(rows) if "optimizer.step()" in row)
        x = inside(source).x
        await click(app, pilot, x + 12, y)
        assert (session.event.kind, session.event.iteration) == ("step", 0)
        await click(app, pilot, x + 1, y)  # the mark of a finding, which is an iteration on
        assert session.position(session.seq) == "1:1"
        await click(app, pilot, x + 12, next(y for y, row in enumerate(rows) if ".backward()" in row))
        assert (session.event.kind, session.event.iteration) == ("backward", 1)
        await press(app, pilot, "home")
        await click(app, pilot, x + 12, next(y for y, row in enumerate(rows) if "for slope" in row))
        assert session.seq == 0  # nothing comes from there
        edge = next(spot for spot in spots(app) if spot.action == "slide(8)")
        await click(app, pilot, edge.x, edge.y)
        assert source.shift == 8
        back = next(spot for spot in spots(app) if spot.action == "slide(-8)")
        await click(app, pilot, back.x, back.y)
        assert source.shift == 0
        await wheel(app, pilot, MouseScrollRight, x + 12, y)
        assert source.shift == 8
        await wheel(app, pilot, MouseScrollLeft, x + 12, y)
        assert source.shift == 0


@both_sizes
async def test_rows_heads_and_frame_of_the_table(network: Path, opened: Opened, size: Size) -> None:
    async with opened(network, size=size) as (app, pilot):
        table, session = app.main.table, app.session
        region = inside(table)
        for row in (2, 0, 3):
            await click(app, pilot, region.x + 3, region.y + 1 + row)
            assert session.row == row
        await click_on(app, pilot, "‖grad‖")
        assert session.view.sort == "grad"
        await click_on(app, pilot, "‖grad‖▼")
        assert session.view.sort == "order"
        outer = table.region
        assert "Sorted by" in await click(app, pilot, outer.right - 4, outer.bottom - 1)
        assert "Filter parameters" in await click(app, pilot, outer.x + 4, outer.y)


WHEELED: tuple[tuple[str, str, Callable[[ViewApp], Lines]], ...] = (
    ("source", "", lambda app: app.main.source),
    ("table", "", lambda app: app.main.table),
    ("inspector", "2", lambda app: app.main.inspector),
)


@both_sizes
@pytest.mark.parametrize(("name", "keys", "pane"), WHEELED, ids=[name for name, _, _ in WHEELED])
async def test_wheels_and_scroll_bars(
    many_turns: Path, opened: Opened, size: Size, name: str, keys: str, pane: Callable[[ViewApp], Lines]
) -> None:
    async with opened(many_turns, size=size) as (app, pilot):
        await press(app, pilot, "end", *keys)
        app.main.show_pane(name)
        app.main.redraw()
        await press(app, pilot)
        lines = pane(app)
        region = inside(lines)
        assert lines.show_vertical_scrollbar
        lines.scroll_to(y=0, animate=False, force=True)
        x, y = region.x + 4, region.y + region.height // 2
        await wheel(app, pilot, MouseScrollDown, x, y)
        await until(app, pilot, lambda: lines.scroll_offset.y > 0)
        await wheel(app, pilot, MouseScrollUp, x, y)
        await until(app, pilot, lambda: lines.scroll_offset.y == 0)
        bar = lines.vertical_scrollbar.region
        assert isinstance(app.screen.get_widget_at(bar.x, bar.y)[0], ScrollBar)
        before = app.session.seq
        await pilot.mouse_down(offset=(bar.x, bar.y))
        await pilot.hover(offset=(bar.x, bar.bottom - 1))
        await pilot.mouse_up(offset=(bar.x, bar.bottom - 1))
        await until(app, pilot, lambda: lines.scroll_offset.y > 0)
        assert app.session.seq == before


async def test_the_wheel_over_the_timeline_steps(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        for y in range(1, 5):
            await wheel(app, pilot, MouseScrollDown, 40, y)
        assert app.session.seq == 4
        await wheel(app, pilot, MouseScrollUp, 40, 2)
        assert app.session.seq == 3
