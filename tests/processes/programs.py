"""Scripts that start processes, run as people run them: each with a time limit, and in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 150.0
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
"""`torchrun`, on a free port."""


@dataclass(frozen=True)
class Ended:
    """How it ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines on stderr that are optrace's own."""
        return [line for line in self.err.splitlines() if line.startswith("optrace: ")]


def python(*arguments: str, cwd: Path) -> Ended:
    """Plain python. Whatever it started is gone afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP_", "COLUMNS"))}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err)


def script(folder: Path, text: str, name: str = "train.py") -> None:
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


def kinds(trace: Any) -> list[list[str]]:
    """The kinds of events of each iteration."""
    return [[event.kind for event in iteration.events] for iteration in trace.iterations]
