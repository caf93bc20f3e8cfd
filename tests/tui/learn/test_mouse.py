"""The mouse on the screens of the lessons: what stands for an action is read off each screen, and clicked."""

from __future__ import annotations

import pytest
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot

from optrace.lessons.model import Run
from optrace.tui.core.spans import cells
from optrace.tui.learn.app import LearnApp
from optrace.tui.learn.comparison import NAMES, ComparisonScreen
from optrace.tui.learn.course import CourseScreen
from optrace.tui.learn.lesson import LessonScreen
from optrace.tui.screens.listing import Listing
from optrace.tui.screens.prompt import Prompt
from tests.tui.drawing import spots
from tests.tui.learn.conftest import Led, Started, lesson_screen, press, screen_text, settle

SIZES = [pytest.param((80, 24), id="low"), pytest.param((120, 36), id="middle")]
Size = tuple[int, int]


async def click(app: LearnApp, pilot: Pilot[None], x: int, y: int) -> str:
    await pilot.click(offset=(x, y))
    await settle(app, pilot)
    return screen_text(app)


async def click_on(app: LearnApp, pilot: Pilot[None], text: str) -> str:
    """Click on a text where it last stands on the screen."""
    rows = screen_text(app).splitlines()
    y = next(y for y, row in reversed([*enumerate(rows)]) if text in row)
    return await click(app, pilot, cells(rows[y][: rows[y].index(text)]) + cells(text) // 2, y)


async def do(app: LearnApp, pilot: Pilot[None], action: str) -> str:
    """Click on what stands for an action."""
    spot = next(spot for spot in spots(app) if spot.action == action)
    return await click(app, pilot, spot.x, spot.y)


@pytest.mark.parametrize("size", SIZES)
async def test_the_list(started: Started, size: Size) -> None:
    async with started(size=size) as (app, pilot):
        course = app.screen
        assert isinstance(course, CourseScreen)
        assert {spot.action for spot in spots(app)} >= {"walk(-1)", "walk(1)", "take", "filter", "language", "app.quit"}
        await do(app, pilot, "walk(1)")
        assert course.chosen == 1
        await do(app, pilot, "walk(-1)")
        assert course.chosen == 0
        titles = [lesson.title for lesson in course.lessons]
        await click_on(app, pilot, titles[1])
        assert course.chosen == 1
        region = course.list.content_region
        for kind, chosen in ((MouseScrollUp, 0), (MouseScrollDown, 1)):
            await pilot._post_mouse_events([kind], offset=(region.x + 5, region.y + 2))
            await settle(app, pilot)
            assert course.chosen == chosen
        await do(app, pilot, "filter")
        assert isinstance(app.screen, Prompt)
        await pilot.press("z", "z", "z")
        await click_on(app, pilot, "Enter ok")
        assert not course.shown
        await press(app, pilot, "escape")
        await do(app, pilot, "language")
        assert app.language == "zh-CN"
        await do(app, pilot, "theme")
        assert app.theme == "optrace-light"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["entry", "card", "key"])
async def test_a_lesson_is_started_and_left(started: Started, where: str) -> None:
    async with started() as (app, pilot):
        course = app.screen
        assert isinstance(course, CourseScreen)
        if where == "entry":
            await click_on(app, pilot, course.lessons[0].title)
        elif where == "card":
            region = course.card.content_region
            await click(app, pilot, region.x + 2, region.y + 1)
        else:
            await do(app, pilot, "take")
        assert isinstance(app.screen, LessonScreen)
        await do(app, pilot, "app.leave_lesson")
        assert app.screen is course


@pytest.mark.parametrize("size", SIZES)
async def test_a_lesson(led: Led, size: Size) -> None:
    async with led(size=size) as (app, pilot):
        screen = lesson_screen(app)
        guide = screen.guide
        await click_on(app, pilot, "⏎ next ")  # in the frame of the text, or in the last line
        assert guide.number == 0
        frame = screen.lesson.region.bottom - 1
        row = screen_text(app).splitlines()[frame]
        for words, number in (("⏎ next", 1), ("⌫ back", 0)):
            if guide.asking:
                row = screen_text(app).splitlines()[frame]
                assert "s show answer" in row
                await click(app, pilot, cells(row[: row.index("s show")]) + 3, frame)
                assert not guide.asking
            frame = screen.lesson.region.bottom - 1
            row = screen_text(app).splitlines()[frame]
            await click(app, pilot, cells(row[: row.index(words)]) + 3, frame)
            assert guide.number == number
            frame = screen.lesson.region.bottom - 1
        while not (guide.asking and guide.page.choices):
            await (do(app, pilot, "skip") if guide.asking else do(app, pilot, "next_stop"))
        await do(app, pilot, "choose(1)")
        assert not guide.asking
        given = guide.verdict
        assert given is not None
        assert given.said
        await do(app, pilot, "event(1)")
        assert screen.away
        row = screen_text(app).splitlines()[screen.lesson.region.bottom - 1]
        await click(app, pilot, cells(row[: row.index("away")]) + 3, screen.lesson.region.bottom - 1)
        assert not screen.away
        await do(app, pilot, "help")
        assert isinstance(app.screen, Listing)
        await do(app, pilot, "below('other_run')")
        assert lesson_screen(app).run == "repaired"
        if size[0] == 80:
            for name in ("story", "table", "inspector", "source"):
                await do(app, pilot, f"pane({name!r})")
                assert lesson_screen(app).panebar.shown == name


@pytest.mark.parametrize("size", SIZES)
async def test_the_comparison(led: Led, size: Size) -> None:
    async with led(size=size) as (app, pilot):
        app.compare()
        await settle(app, pilot)
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        for name in (*NAMES[1:], NAMES[0]):
            if size[0] == 80:
                await do(app, pilot, f"pane({name!r})")
            else:
                region = screen.sections[name].content_region
                await click(app, pilot, region.x + 1, region.bottom - 1)
            assert screen.panebar.shown == name
        if size[0] > 80:
            await do(app, pilot, "turn(1)")
            assert screen.panebar.shown == NAMES[1]
        await do(app, pilot, "go('back')")
        assert isinstance(app.screen, LessonScreen)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", ["script", "repaired"])
async def test_a_curve_of_the_comparison_leads_to_its_iteration(led: Led, size: Size, run: Run) -> None:
    async with led(size=size) as (app, pilot):
        app.compare()
        await settle(app, pilot)
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        await do(app, pilot, "pane('curves')") if size[0] == 80 else None
        assert screen.comparison is not None
        curve = screen.comparison.curves[0]
        region = screen.sections["curves"].content_region
        drawn = [row[region.x : region.right] for row in screen_text(app).splitlines()[region.y : region.bottom]]
        labels = [y for y, row in enumerate(drawn) if "└" in row]
        # The last points, the greater one above the other.
        points = curve.points[run]
        iteration = len(points) - 1
        assert points[iteration] != curve.points["repaired" if run == "script" else "script"][iteration]
        last = max(x for row in drawn[2 : labels[0]] for x, mark in enumerate(row) if 0x2800 < ord(mark) <= 0x28FF)
        rows = [y for y in range(2, labels[0]) if 0x2800 < ord(drawn[y][last]) <= 0x28FF]
        values = {each: curve.points[each][-1] or 0.0 for each in ("script", "repaired")}
        other = values["repaired" if run == "script" else "script"]
        row = min(rows) if values[run] > other else max(rows)
        await click(app, pilot, region.x + last, region.y + row)
        shown = lesson_screen(app)
        assert shown.run == run
        assert shown.session.position(shown.session.seq).split(":")[0] == str(iteration)
        assert shown.session.seq == shown.session.trace.iterations.bounds(iteration)[1] - 1
        # Left of the axis and in the frame it is chosen, as every other part.
        app.compare()
        await settle(app, pilot)
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        await do(app, pilot, "pane('curves')") if size[0] == 80 else None
        for y in (region.y + row, region.y - 1, region.bottom):
            await press(app, pilot, "tab") if size[0] > 80 else None  # another is chosen
            await click(app, pilot, region.x + 2, y)
            assert app.screen is screen
            assert screen.panebar.shown == "curves"
