"""How long `optrace view` takes until its first screen stands in a terminal: the real command, the real bytes.

The command is started in a pseudoterminal. The first screen is there with the last byte before nothing more comes for a
while; what threads find out later is not part of it. Modules are compiled before, as an installer leaves them.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

QUIET = 0.035
"""Seconds without a byte after which the first screen is complete."""
LIMIT = 60.0
WORDS = b"Parameters"
"""Stands on the first screen, in no byte before."""


def first_screen(path: Path, size: tuple[int, int] = (120, 36), runs: int = 7) -> tuple[float, float]:
    """Seconds from the start of the process, the median; and the most memory it held by then, MB."""
    compile_modules()
    found = [_run(path, size) for _ in range(runs)]
    return statistics.median(took for took, _ in found), max(held for _, held in found)


def compile_modules() -> None:
    """Keep the modules' compiled form, wherever Python was told not to: else each start compiles them again."""
    subprocess.run([sys.executable, "-c", "import optrace.cli, optrace.tui.app"], check=True, env=_environment())


def _environment() -> dict[str, str]:
    told = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**told, "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def _run(path: Path, size: tuple[int, int]) -> tuple[float, float]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "optrace", "view", str(path)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=_environment(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        seen, shown, last = b"", False, began
        while last - began < LIMIT:
            if select.select([ours], [], [], QUIET)[0]:
                seen, last = seen[-len(WORDS) :] + os.read(ours, 65536), time.perf_counter()
                shown = shown or WORDS in seen
            elif shown:
                break
            elif process.poll() is not None or time.perf_counter() - began > LIMIT:
                raise SystemExit(f"optrace view {path} showed nothing")
        return last - began, _memory(process.pid)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _memory(process: int) -> float:
    """The most a process has held so far, MB; nan where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return float("nan")


if __name__ == "__main__":
    took, held = first_screen(Path(sys.argv[1]))
    print(f"{took:.3f} s, {held:.0f} MB")
