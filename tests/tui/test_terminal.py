"""In a real terminal, under tmux: it starts, moves, and leaves the terminal as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tui.terminal import Start, needs_tmux, typed

pytestmark = needs_tmux


def test_view_in_a_terminal(no_zero: Path, start: Start) -> None:
    terminal = start(typed(f"view {no_zero}"))
    terminal.wait_for("1 error")
    terminal.keys("Right", "Right")
    text = terminal.wait_for("67 % of what is there now")
    assert "1 stale" in text
    terminal.keys("q")
    text = terminal.wait_for("as found")
    assert "code=0" in text
    assert "Parameters" not in text


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("HUP", 129)])
def test_a_signal_ends_it_in_good_order(no_zero: Path, start: Start, signal: str, code: int) -> None:
    terminal = start(typed(f"view {no_zero}"))
    terminal.wait_for("1 error")
    # The pane's own process is the shell; what it runs is its child.
    shell = terminal.call("display-message", "-p", "-t", "t", "#{pane_pid}").strip()
    subprocess.run(["pkill", f"-{signal}", "-P", shell], check=True)
    assert f"code={code}" in terminal.wait_for("as found")
    assert terminal.call("display-message", "-p", "-t", "t", "#{mouse_any_flag}#{alternate_on}").strip() == "00"


def test_into_the_background_and_back(no_zero: Path, start: Start) -> None:
    terminal = start("set -m; " + typed(f"view {no_zero}"))
    terminal.wait_for("1 error")
    terminal.keys("C-z")
    assert "Parameters" not in terminal.wait_for("as found")
    terminal.keys("clear; fg && echo le''ft", "Enter")
    terminal.wait_for("Parameters")
    terminal.keys("Right", "Right")
    terminal.wait_for("67 % of what is there now")
    terminal.keys("q")
    terminal.wait_for("left")


def test_what_cannot_be_opened_is_one_line(tmp_path: Path, start: Start) -> None:
    (tmp_path / "empty.optrace").mkdir()
    terminal = start(typed(f"view {tmp_path / 'empty.optrace'}"))
    text = terminal.wait_for("as found")
    assert "code=2" in text
    assert "is not a trace" in text
    assert "Traceback" not in text
