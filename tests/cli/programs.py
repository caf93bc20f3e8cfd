"""Running the real command, and python beside it, as subprocesses."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import preloaded

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LOOK = """
    import os, sys, __main__
    def plain(value): return type(value).__name__ if not isinstance(value, (str, list, type(None))) else value
    print(sys.argv, sys.path[0], len(sys.path), sys.orig_argv[1:])
    print({name: plain(value) for name, value in sorted(vars(__main__).items())})
    print(__name__, sys.modules["__main__"] is __main__, __main__.__builtins__.__name__, __main__.__dict__ is globals())
    print(getattr(__loader__, "name", None), getattr(__loader__, "path", None), getattr(__spec__, "name", None))
    print(sorted(name for name in os.environ))
"""
"""A script, indented: it prints all that it can see of how it was started."""


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines on stderr that are optrace's own."""
        return [line for line in self.err.splitlines() if line.startswith("optrace: ")]

    @property
    def without_ours(self) -> tuple[int, str, str]:
        """Everything but those lines."""
        lines = [line for line in self.err.splitlines(keepends=True) if not line.startswith("optrace: ")]
        return self.code, self.out, "".join(lines)


def environment(**more: str) -> dict[str, str]:
    """Plain, the same everywhere, with this checkout importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COLUMNS", "OMP_"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


def python(*arguments: str, cwd: Path, stdin: str = "", flags: tuple[str, ...] = (), **more: str) -> Ended:
    """Plain python."""
    done = subprocess.run(
        [sys.executable, *flags, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=120,
        errors="surrogateescape",
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def optrace(*arguments: str, cwd: Path, stdin: str = "", flags: tuple[str, ...] = (), **more: str) -> Ended:
    """The command."""
    return python("-m", "optrace", *arguments, cwd=cwd, stdin=stdin, flags=flags, **more)


def run(*arguments: str, cwd: Path, stdin: str = "", **more: str) -> Ended:
    """`optrace run`, in a process that has torch loaded: for all that is not about the start itself."""
    done = preloaded.python("optrace", "run", *arguments, cwd=cwd, stdin=stdin, environment=environment(**more))
    return Ended(done.returncode, done.stdout, done.stderr)


def both(folder: Path, *arguments: str, stdin: str = "") -> tuple[Ended, Ended]:
    """Plain python, and `optrace run` of the same."""
    return python(*arguments, cwd=folder, stdin=stdin), optrace("run", *arguments, cwd=folder, stdin=stdin)
