"""Running both scripts of a lesson at once, and how far they are. Headless."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from optrace.errors import OptraceError
from optrace.lessons.model import Lesson, Run
from optrace.lessons.played import Played
from optrace.lessons.running import Cancelled, Ran, run_script
from optrace.trace.reader import load


class Runs:
    """The scripts of a lesson, each run in a process of its own and watched by a thread of this one."""

    def __init__(self, lesson: Lesson, folder: Path, done: Callable[[], None]) -> None:
        """`done` is called from a thread whenever one of the scripts has ended."""
        self.lesson = lesson
        self.names: tuple[Run, ...] = ("script",) if lesson.repaired is None else ("script", "repaired")
        self.ran: dict[Run, Ran] = {}
        self.failures: dict[Run, str] = {}
        self.seconds: dict[Run, float] = {}
        self._folder, self._done = folder, done
        self._stop = threading.Event()
        self._began = time.monotonic()

    def script(self, run: Run) -> Path:
        """The script of a run."""
        return self.lesson.script if run == "script" or self.lesson.repaired is None else self.lesson.repaired

    def output(self, run: Run) -> str:
        """What a script has printed."""
        return self.ran[run].output if run in self.ran else ""

    def start(self, run: Run) -> None:
        """Run a script to its end, or until all are stopped. For a thread."""
        try:
            self.ran[run] = run_script(self.lesson, run, self._folder, self._stop)
        except Cancelled:
            pass
        except (OptraceError, OSError) as error:
            self.failures[run] = str(error).replace(f"{self.lesson.path.parent.resolve()}/", "")
        finally:
            self.seconds[run] = time.monotonic() - self._began
            self._done()

    def stop(self) -> None:
        """End the scripts that still run."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def over(self) -> bool:
        """None of them runs any more."""
        return all(run in self.seconds for run in self.names)

    @property
    def crashed(self) -> bool:
        """Some script did not end well, though something was recorded."""
        return any(ran.exit_code for ran in self.ran.values())

    def elapsed(self, run: Run) -> float:
        """Seconds that a script has run, or ran."""
        return self.seconds.get(run, time.monotonic() - self._began)

    def events(self, run: Run) -> int:
        """How many events have been recorded so far."""
        path = self._folder / f"{run}.optrace"
        try:
            with load(path) as trace:
                return len(trace.events)
        except (OptraceError, OSError):
            return 0

    def play(self) -> Played:
        """The lesson with its runs, opened."""
        return Played(self.lesson, {run: load(self.ran[run].trace) for run in self.names})
