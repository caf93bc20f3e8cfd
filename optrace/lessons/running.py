"""Running a lesson's scripts for real, under the recorder, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from optrace.lessons.errors import LessonError
from optrace.lessons.model import Lesson, Run
from optrace.trace.reader import load

POLL = 0.05
"""Seconds between looks at whether to stop."""


class Cancelled(Exception):
    """The run was given up."""


@dataclass(frozen=True)
class Ran:
    """A script that was run."""

    script: Path
    trace: Path
    output: str
    """What it printed, stdout and stderr as they came."""
    exit_code: int

    @property
    def last_words(self) -> str:
        """The last line it printed: of a traceback, the error."""
        return (self.output.strip().splitlines() or ["it printed nothing"])[-1]


def run_script(lesson: Lesson, run: Run, folder: Path, stop: threading.Event | None = None) -> Ran:
    """Run one of the lesson's scripts under the recorder; its trace goes into `folder`.

    The script runs in the lesson's own folder. Raises `LessonError` where nothing was recorded, and
    `Cancelled` once `stop` is set.
    """
    script = lesson.script if run == "script" else lesson.repaired
    if script is None:
        raise LessonError(f"the lesson has no {run} script", lesson.path)
    script = script.resolve()
    trace = (folder / f"{run}.optrace").resolve()
    command = [sys.executable, "-m", "optrace", "run", "-q", "-f", "-o", str(trace), str(script), *lesson.arguments]
    with subprocess.Popen(
        command,
        cwd=script.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        output = _wait(process, stop)
    ran = Ran(script, trace, output, process.returncode)
    if not trace.is_dir() or not _events(trace):
        raise LessonError(f"nothing was recorded; the last line it printed: {ran.last_words}", script)
    return ran


def _wait(process: subprocess.Popen[str], stop: threading.Event | None) -> str:
    while True:
        try:
            return process.communicate(timeout=POLL)[0]
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                process.kill()
                process.communicate()
                raise Cancelled from None
        except BaseException:
            process.kill()
            raise


def _events(trace: Path) -> int:
    with load(trace) as opened:
        return len(opened.events)
