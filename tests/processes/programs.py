"""Scripts that start processes, run as people run them: each with a time limit."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preloaded

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
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


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP_", "COLUMNS"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def module(*arguments: str, cwd: Path) -> Ended:
    """`python -m …` in a process that has torch loaded. Whatever it started is gone afterwards."""
    done = preloaded.python(*arguments, cwd=cwd, environment=environment())
    return Ended(done.returncode, done.stdout, done.stderr)


def script(folder: Path, text: str, name: str = "train.py") -> None:
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


def kinds(trace: Any) -> list[list[str]]:
    """The kinds of events of each iteration."""
    return [[event.kind for event in iteration.events] for iteration in trace.iterations]
