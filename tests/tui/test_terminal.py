"""In a real terminal, under tmux: it starts, moves, and leaves the terminal as it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

Start = Callable[[str], "Terminal"]


class Terminal:
    """A tmux window of its own server."""

    def __init__(self, command: str, folder: Path) -> None:
        self._socket = f"optrace-{uuid.uuid4().hex[:8]}"
        self.call("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "120", "-y", "36", "-c", str(folder), "sh")
        self.keys(command, "Enter")

    def call(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-L", self._socket, *arguments], capture_output=True, text=True, timeout=20, check=False
        ).stdout

    def keys(self, *keys: str) -> None:
        self.call("send-keys", "-t", "t", *keys)

    def screen(self) -> str:
        return self.call("capture-pane", "-p", "-t", "t")

    def wait_for(self, words: str, seconds: float = 30) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if words in (text := self.screen()):
                return text
            time.sleep(0.1)
        raise AssertionError(f"{words!r} did not appear in:\n{self.screen()}")

    def close(self) -> None:
        self.call("kill-server")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    terminals: list[Terminal] = []

    def starting(command: str) -> Terminal:
        terminals.append(Terminal(command, tmp_path))
        return terminals[-1]

    yield starting
    for terminal in terminals:
        terminal.close()


def _view(path: Path) -> str:
    # The words that are waited for must not stand in what is typed.
    run = f"{sys.executable} -m optrace view {path}; echo code=$?"
    return f"unset COLUMNS LINES; stty -g > before; {run}; stty -g > after; cmp before after && echo as fou''nd"


def test_view_in_a_terminal(no_zero: Path, start: Start) -> None:
    terminal = start(_view(no_zero))
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
    terminal = start(_view(no_zero))
    terminal.wait_for("1 error")
    # The pane's own process is the shell; what it runs is its child.
    shell = terminal.call("display-message", "-p", "-t", "t", "#{pane_pid}").strip()
    subprocess.run(["pkill", f"-{signal}", "-P", shell], check=True)
    assert f"code={code}" in terminal.wait_for("as found")
    assert terminal.call("display-message", "-p", "-t", "t", "#{mouse_any_flag}#{alternate_on}").strip() == "00"


def test_into_the_background_and_back(no_zero: Path, start: Start) -> None:
    terminal = start("set -m; " + _view(no_zero))
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
    terminal = start(_view(tmp_path / "empty.optrace"))
    text = terminal.wait_for("as found")
    assert "code=2" in text
    assert "is not a trace" in text
    assert "Traceback" not in text
