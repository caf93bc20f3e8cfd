"""The list of lessons: choosing, filtering, the language, what has been finished."""

from __future__ import annotations

import shutil
from pathlib import Path

from optrace.tui.learn.comparison import ComparisonScreen
from optrace.tui.learn.course import CourseScreen
from optrace.tui.learn.running import RunningScreen
from tests.tui.learn.conftest import COURSE, Led, Started, lesson_screen, press, screen_text, settle


def course_screen(screen: object) -> CourseScreen:
    assert isinstance(screen, CourseScreen)
    return screen


async def test_the_list(started: Started) -> None:
    async with started(size=(200, 50)) as (app, pilot):
        text = screen_text(app)
        for words in ("The three calls", "Adding up", "Correct loops", "The calls in their order", "0 of 2 finished"):
            assert words in text
        assert "4 stops · 2 questions · optrace reports OT101" in " ".join(text.split())
        assert "loss.backward()" in text  # the chosen lesson's script
        text = await press(app, pilot, "down")
        assert "zero_grad, backward, step: one after" in text
        assert "1 stop · no questions" in text
        assert course_screen(app.screen).chosen == 1
        await press(app, pilot, "down", "end", "up", "up")
        assert course_screen(app.screen).chosen == 0


async def test_the_summary_of_the_chosen_lesson_is_there_at_80_columns(started: Started) -> None:
    async with started(size=(80, 24)) as (app, pilot):
        assert "Each step applies all the gradients before it once more." in screen_text(app)
        assert "one after the other." in await press(app, pilot, "down")


async def test_filtering(started: Started) -> None:
    async with started() as (app, pilot):
        await press(app, pilot, "slash", *"order")
        assert [lesson.name for lesson in course_screen(app.screen_stack[1]).shown] == ["in-order"]
        text = await press(app, pilot, "enter")
        assert "Adding up" not in text
        assert "The calls in their order" in text
        await press(app, pilot, "escape")
        assert len(course_screen(app.screen).shown) == 2
        text = await press(app, pilot, "slash", *"xyz", "enter")
        assert "No lesson matches “xyz”" in text
        await press(app, pilot, "enter")  # nothing to start
        assert isinstance(app.screen, CourseScreen)


async def test_the_other_language(started: Started) -> None:
    async with started() as (app, pilot):
        text = await press(app, pilot, "l")
        for words in ("累加", "三个调用", "每一步都把之前的梯度再用一遍。", "已完成 0/2", "退出"):
            assert words in text
        assert "The calls in their order" in text  # not translated
        assert "Adding up" in await press(app, pilot, "l")


async def test_a_translation_that_cannot_be_read_is_told(started: Started, tmp_path: Path) -> None:
    course = Path(shutil.copytree(COURSE, tmp_path / "course"))
    (course / "adding-up" / "lesson.zh-CN.md").write_text("nothing")
    async with started(course, size=(200, 50)) as (app, pilot):
        text = await press(app, pilot, "l")
        assert "lesson.zh-CN.md:1" in text
        assert "Adding up" in text


async def test_a_click_chooses_and_a_second_starts(started: Started) -> None:
    async with started() as (app, pilot):
        lines = screen_text(app).splitlines()
        row = next(y for y, line in enumerate(lines) if "The calls in their order" in line)
        await pilot.click(offset=(12, row))
        await settle(app, pilot)
        assert course_screen(app.screen).chosen == 1
        await pilot.click(offset=(12, row))
        await pilot.pause()
        assert isinstance(app.screen, RunningScreen)
        assert app.screen.lesson.name == "in-order"
        await settle(app, pilot)
        assert lesson_screen(app).guide.lesson.name == "in-order"


async def test_what_was_finished_is_marked_and_the_next_lesson_is_a_key_away(led: Led, started: Started) -> None:
    async with led() as (app, pilot):
        text = await press(app, pilot, "enter", "enter", "8", "enter", "enter", "1", "enter", "enter")
        assert isinstance(app.screen, ComparisonScreen)
        assert "next: The calls in their order" in text
        text = await press(app, pilot, "q")
        assert isinstance(app.screen, CourseScreen)
        assert "1 of 2 finished" in text
        assert "✓ 1 of 2 right" in text
        assert app.open is None


async def test_the_next_lesson_has_no_repair(led: Led) -> None:
    async with led() as (app, pilot):
        await press(app, pilot, "enter", "enter", "s", "enter", "s", "enter", "enter", "enter")
        assert lesson_screen(app).guide.lesson.name == "in-order"
        assert "only one script" in await press(app, pilot, "r")
        text = await press(app, pilot, "enter", "enter")
        assert isinstance(app.screen, ComparisonScreen)
        assert "This lesson has no repaired script." in text
        assert "This lesson draws no curves." in text
        text = await press(app, pilot, "enter")  # it was the last
        assert isinstance(app.screen, CourseScreen)
        assert "2 of 2 finished" in text
