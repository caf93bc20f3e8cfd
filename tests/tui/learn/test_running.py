"""While a lesson's scripts run: for real, with what they print, and not longer than somebody wants to wait."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from optrace.tui.learn.running import RunningScreen
from tests.tui.learn.conftest import COURSE, Started, lesson_screen, press, screen_text, settle


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """A copy of the first lesson, on its own."""
    return Path(shutil.copytree(COURSE / "adding-up", tmp_path / "adding-up"))


async def test_a_single_lesson_runs_at_once_and_leaving_it_ends_the_app(lesson: Path, started: Started) -> None:
    async with started(lesson) as (app, pilot):
        assert lesson_screen(app).guide.played.traces["repaired"].iterations
        assert "3 [16.0, 16.0]" in await press(app, pilot, "p")
        await press(app, pilot, "escape")
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def test_a_script_that_crashes_is_told_and_what_was_recorded_can_be_looked_at(
    lesson: Path, started: Started
) -> None:
    script = lesson / "broken.py"
    script.write_text(script.read_text() + '    if turn == 1:\n        raise RuntimeError("out of luck")\n')
    async with started(lesson) as (app, pilot):
        assert isinstance(app.screen, RunningScreen)
        text = screen_text(app)
        assert "ended with exit code 1" in text
        assert "RuntimeError: out of luck" in text
        assert "✓ repaired.py" in text
        await press(app, pilot, "enter")
        assert len(lesson_screen(app).session.trace.events) == 4


@pytest.mark.parametrize("content", ["print('nothing to see')\n", "import torch\nraise ValueError('too early')\n"])
async def test_where_nothing_is_recorded_there_is_no_lesson(lesson: Path, started: Started, content: str) -> None:
    (lesson / "broken.py").write_text(content)
    async with started(lesson) as (app, pilot):
        text = " ".join(screen_text(app).split())
        assert "broken.py: nothing was recorded; the last line it printed:" in text
        assert "The lesson cannot be opened." in text
        await press(app, pilot, "enter")
        assert isinstance(app.screen, RunningScreen)
        await pilot.press("escape")
        await pilot.pause()
    assert app.return_code == 0


async def test_a_run_can_be_cancelled(tmp_path: Path, started: Started) -> None:
    course = tmp_path / "course"
    shutil.copytree(COURSE, course)
    script = course / "adding-up" / "broken.py"
    mark = tmp_path / "process"
    script.write_text(
        f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\n"
        "print('waiting', flush=True)\ntime.sleep(600)\n"
    )
    async with started(course) as (app, pilot):
        await pilot.press("enter")
        for _ in range(3000):
            await asyncio.sleep(0.02)
            if mark.exists() and mark.read_text():
                break
        process = int(mark.read_text())
        assert "starting Python and torch" in screen_text(app)
        await pilot.press("escape")
        await settle(app, pilot)
        assert "Adding up" in screen_text(app)
        assert not isinstance(app.screen, RunningScreen)
        for _ in range(500):
            if not _runs(process):
                break
            await asyncio.sleep(0.02)
        assert not _runs(process)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
