"""Each key that is bound on a screen of the lessons does what it is bound to. One that is not tried fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.screen import Screen

from optrace.tui.learn.app import LearnApp
from optrace.tui.learn.comparison import ComparisonScreen
from optrace.tui.learn.course import CourseScreen
from optrace.tui.learn.lesson import LessonScreen
from optrace.tui.learn.pane import Answer
from optrace.tui.learn.running import RunningScreen
from tests.tui.learn.conftest import COURSE, Led, Started, lesson_screen, press, screen_text
from tests.tui.test_bindings import bound

Seen = Callable[[LearnApp], object]


def course(app: LearnApp) -> CourseScreen:
    assert isinstance(app.screen, CourseScreen)
    return app.screen


def chosen(app: LearnApp) -> str:
    lesson = course(app).lesson
    return lesson.name if lesson else ""


def stop(app: LearnApp) -> int:
    return lesson_screen(app).guide.number


def tab(app: LearnApp) -> str:
    return lesson_screen(app).session.view.tab


def row(app: LearnApp) -> int:
    return lesson_screen(app).lesson.text.chosen


def on(kind: type[Screen[object]]) -> Seen:
    return lambda app: isinstance(app.screen, kind)


def says(words: str) -> Seen:
    return lambda app: words in screen_text(app)


FIRST, SECOND = "adding-up", "in-order"
LIST: tuple[tuple[str, str, Seen, object], ...] = (
    # Keys before, the keys tried, what is looked at, what it then is; from the first of two lessons
    ("", "down j", chosen, SECOND), ("down", "up k", chosen, FIRST), ("", "pagedown end G", chosen, SECOND),
    ("down", "pageup home", chosen, FIRST), ("", "slash", says("Filter"), True),
    ("slash i n - o enter", "escape", lambda app: len(course(app).shown), 2),
    ("", "l", lambda app: app.language, "zh-CN"), ("", "t", lambda app: app.theme, "optrace-light"),
)  # fmt: skip
STOPS: tuple[tuple[str, str, Seen, object], ...] = (
    # From the third stop, which asks to choose among three
    ("", "enter 1 2 3", lambda app: lesson_screen(app).guide.asking, False), ("", "backspace", stop, 1),
    ("", "s", lambda app: lesson_screen(app).guide.asking, False), ("", "p", says("printed"), True),
    ("", "r", lambda app: lesson_screen(app).run, "repaired"), ("", "down", row, 1), ("down", "up", row, 0),
    ("", "4", tab, "values"), ("", "5", tab, "history"),
)  # fmt: skip


@pytest.mark.slow
async def test_every_key_of_the_list_of_lessons(started: Started) -> None:
    tried = {"enter", "right", "q"}
    async with started() as (app, pilot):
        for before, keys, seen, expected in LIST:
            for key in keys.split():
                tried.add(key)
                course(app).choose(FIRST)
                await press(app, pilot, *before.replace("-", "minus").split(), key)
                assert seen(app) == expected, key
                if not isinstance(app.screen, CourseScreen):
                    await press(app, pilot, "escape")
                if key == "l":
                    await press(app, pilot, "l")
        for key in ("enter", "right"):
            course(app).choose(FIRST)
            await press(app, pilot, key)
            assert isinstance(app.screen, LessonScreen)
            await press(app, pilot, "q")
            assert isinstance(app.screen, CourseScreen)
        await pilot.press("q")
        assert app._exit
    assert tried == bound(CourseScreen.BINDINGS)


async def test_every_key_of_a_lesson(led: Led, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried = {"q", "pagedown", "pageup"}
    async with led() as (app, pilot):
        first = lesson_screen(app)
        for before, keys, seen, expected in STOPS:
            for key in keys.split():
                tried.add(key)
                guide = first.guide
                guide.given.clear()
                guide.number = 2
                if lesson_screen(app) is not first:
                    await press(app, pilot, "r")
                await lesson_screen(app).lead()
                await press(app, pilot, *before.split(), key)
                assert seen(app) == expected, key
                if not isinstance(app.screen, LessonScreen):
                    await press(app, pilot, "escape")
        text = first.lesson.text
        monkeypatch.setattr(type(text), "line", lambda self, y, width: [])
        monkeypatch.setattr(type(text), "prepare", lambda self, width, height: 100)  # longer than any screen
        text.show()
        await press(app, pilot, "pagedown")
        assert text.scroll_offset.y > 0
        await press(app, pilot, "pageup")
        assert text.scroll_offset.y == 0
        await press(app, pilot, "q")
        assert isinstance(app.screen, CourseScreen)
    assert tried == bound(LessonScreen.BINDINGS)


async def test_every_key_of_an_answer(led: Led) -> None:
    async with led() as (app, pilot):
        await press(app, pilot, "enter", "enter", "7", "8", "backspace", "backspace", "8")
        assert lesson_screen(app).lesson.answer.value == "8"
        assert "✓ Right: 8." in await press(app, pilot, "enter")
    assert bound(Answer.BINDINGS) == {"enter", "backspace"}


@pytest.mark.slow
async def test_every_key_of_the_comparison(led: Led) -> None:
    tried: set[str] = set()
    async with led(size=(80, 12)) as (app, pilot):

        async def compare(*keys: str) -> ComparisonScreen:
            if not isinstance(app.screen, ComparisonScreen):
                if isinstance(app.screen, CourseScreen):
                    await press(app, pilot, "enter")
                lesson_screen(app).guide.number = len(lesson_screen(app).guide.lesson.stops) - 1
                lesson_screen(app)._finish()
                await press(app, pilot)
            tried.update(keys)
            await press(app, pilot, *keys)
            return app.screen  # type: ignore[return-value]

        shown = (await compare()).panebar.shown
        assert (await compare("tab")).panebar.shown != shown
        screen = await compare("shift+tab")
        assert screen.panebar.shown == shown
        part = screen.sections[shown]
        for down, up in (("down", "up"), ("j", "k"), ("pagedown", "pageup"), ("space", "pageup")):
            await compare(down)
            assert part.scroll_offset.y > 0, down
            await compare(up)
            assert part.scroll_offset.y == 0, up
        assert (await compare("y"))._flip
        await compare("t")
        assert app.theme == "optrace-light"
        for key, kind in (("backspace", LessonScreen), ("escape", CourseScreen), ("q", CourseScreen)):
            await compare(key)
            assert isinstance(app.screen, kind), key
        await compare("enter")
        assert isinstance(app.screen, LessonScreen)  # the next lesson
        assert lesson_screen(app).guide.lesson.name == SECOND
    assert tried == bound(ComparisonScreen.BINDINGS)


@pytest.mark.slow
async def test_every_key_while_scripts_run(tmp_path: Path, started: Started) -> None:
    lessons = Path(shutil.copytree(COURSE, tmp_path / "course"))
    script = lessons / "adding-up" / "broken.py"
    script.write_text(script.read_text() + '    print("a line\\n" * 40)\n    raise RuntimeError("out of luck")\n')
    tried: set[str] = set()
    async with started(lessons, size=(80, 10)) as (app, pilot):
        for leave, kind in (("escape", CourseScreen), ("q", CourseScreen), ("enter", LessonScreen)):
            await press(app, pilot, "enter")
            screen = app.screen
            assert isinstance(screen, RunningScreen)
            for down, up in (("down", "up"), ("j", "k")):
                tried |= {down, up}
                await press(app, pilot, down)
                assert screen.body.scroll_offset.y == 1
                await press(app, pilot, up)
                assert screen.body.scroll_offset.y == 0
            tried.add(leave)
            await press(app, pilot, leave)
            assert isinstance(app.screen, kind)
    assert tried == bound(RunningScreen.BINDINGS)
