"""A lesson in a real terminal: the scripts run, the lesson opens, and the terminal is left as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tui.learn.conftest import COURSE
from tests.tui.terminal import Start, needs_tmux, typed

pytestmark = needs_tmux


def test_a_lesson_in_a_terminal(start: Start) -> None:
    terminal = start(typed(f"learn {COURSE} --lang en"))
    terminal.wait_for("0 of 2 finished")
    terminal.keys("Enter")
    terminal.wait_for("Running the scripts")
    terminal.wait_for("Each gradient of this loss is 4", seconds=120)
    terminal.keys("Enter")
    terminal.wait_for("The gradient is 4.")
    terminal.keys("Enter")
    terminal.wait_for("Your answer")
    terminal.keys("8", "Enter")
    terminal.wait_for("Right: 8.")
    terminal.keys("q")
    terminal.wait_for("0 of 2 finished")
    terminal.keys("q")
    text = terminal.wait_for("as found")
    assert "code=0" in text
    assert "Adding up" not in text


@pytest.mark.parametrize("key", ["Escape", "C-q"])
def test_leaving_while_scripts_run_leaves_the_terminal_clean(start: Start, tmp_path: Path, key: str) -> None:
    lesson = Path(shutil.copytree(COURSE / "adding-up", tmp_path / "adding-up"))
    (lesson / "broken.py").write_text("import time\ntime.sleep(600)\n")
    terminal = start(typed(f"learn {lesson} --lang zh-CN"))
    terminal.wait_for("正在记录器下运行脚本")
    terminal.keys(key)
    text = terminal.wait_for("as found")
    assert "code=0" in text
    assert "Traceback" not in text
