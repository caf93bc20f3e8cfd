"""A real terminal under tmux, and what is typed into it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
Start = Callable[[str], "Terminal"]


def typed(arguments: str) -> str:
    """A line for a shell: the command, and then whether the terminal is as it was."""
    # The words that are waited for must not stand in what is typed.
    run = f"{sys.executable} -m optrace {arguments}; echo code=$?"
    return f"unset COLUMNS LINES; stty -g > before; {run}; stty -g > after; cmp before after && echo as fou''nd"


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
