"""A course of two small lessons, its scripts recorded once; the app at any place in it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from optrace.lessons.read import read_lesson
from optrace.tui.learn.app import LearnApp
from optrace.tui.learn.lesson import LessonScreen
from optrace.tui.learn.running import RunningScreen
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words

COURSE = Path(__file__).parent / "course"
Started = Callable[..., AbstractAsyncContextManager[tuple[LearnApp, Pilot[None]]]]
Led = Callable[..., AbstractAsyncContextManager[tuple[LearnApp, Pilot[None]]]]


async def settle(app: LearnApp, pilot: Pilot[None]) -> None:
    """Wait until no script runs and nothing happens in the background any more."""
    for _ in range(3000):
        await pilot.pause()
        screen = app.screen
        waiting = isinstance(screen, RunningScreen) and not screen.runs.over
        waiting |= isinstance(screen, LessonScreen) and (
            not screen.session.findings.ready or screen.running or screen._wanted is not None
        )
        if not waiting and all(worker.is_finished for worker in app.workers):
            break
        await asyncio.sleep(0.02)
    await pilot.pause()
    await pilot.pause()


def screen_text(app: LearnApp) -> str:
    """All lines that are on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines[: app.size.height])


async def press(app: LearnApp, pilot: Pilot[None], *keys: str) -> str:
    """Press keys, one after what the other did, and give back the screen."""
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)
    return screen_text(app)


def lesson_screen(app: LearnApp) -> LessonScreen:
    """The lesson's screen, which must be in front."""
    assert isinstance(app.screen, LessonScreen)
    return app.screen


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """`async with started(size=(80, 24)) as (app, pilot)`: the list of lessons. Scripts really run."""

    @asynccontextmanager
    async def starting(
        place: Path = COURSE, size: tuple[int, int] = (120, 36), language: str = "en", **settings: Any
    ) -> AsyncIterator[tuple[LearnApp, Pilot[None]]]:
        folder = tmp_path / "runs"
        folder.mkdir(exist_ok=True)
        settings.setdefault("ascii_only", False)
        app = LearnApp(place, ["en", "zh-CN"], language, folder, **settings)
        try:
            async with app.run_test(size=size) as pilot:
                await settle(app, pilot)
                yield app, pilot
        finally:
            app.close()

    return starting


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Both scripts of the first lesson, run once."""
    runs = Runs(read_lesson(COURSE / "adding-up"), tmp_path_factory.mktemp("recorded"), lambda: None)
    for run in runs.names:
        runs.start(run)
    assert not runs.failures
    return runs


@pytest.fixture
def led(started: Started, recorded: Runs, tmp_path: Path) -> Led:
    """`async with led() as (app, pilot)`: the first lesson, open; `old` and `new` replace a piece of its text."""

    @asynccontextmanager
    async def leading(
        old: str = "", new: str = "", language: str = "en", **settings: Any
    ) -> AsyncIterator[tuple[LearnApp, Pilot[None]]]:
        folder = tmp_path / "adding-up"
        shutil.copytree(COURSE / "adding-up", folder)
        text = (folder / "lesson.md").read_text(encoding="utf-8")
        assert old in text
        (folder / "lesson.md").write_text(text.replace(old, new) if old else text, encoding="utf-8")
        lesson = read_lesson(folder, language)
        async with started(language=language, **settings) as (app, pilot):
            runs = Runs(lesson, tmp_path, lambda: None)
            runs.ran.update(recorded.ran)
            app.open_lesson(runs, Words(lesson.language, app.ascii_only))
            await settle(app, pilot)
            yield app, pilot

    return leading
