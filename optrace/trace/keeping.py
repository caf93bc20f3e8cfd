"""Asking a running recording of the last iterations to keep what it holds: a small file in its folder.

Whoever wants it puts the file there: the live check, `optrace keep`, another program. Processes that run together look
in the folder they share, so all of them end together. This module imports neither NumPy nor torch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from optrace.trace.format import KEEP_FILE
from optrace.trace.processes import is_name

_LONGEST = 1000  # characters of a reason


def place_to_ask(trace: Path) -> Path:
    """The folder to ask in: that of the processes that run together where the trace is one of theirs."""
    whole = Path(os.path.abspath(trace))
    return whole.parent if is_name(whole.name) else trace


def ask(folder: Path, reason: str) -> None:
    """Ask for what is held to be kept; who asked first is heard. Raises `OSError`."""
    if (folder / KEEP_FILE).exists():
        return
    new = folder / f"{KEEP_FILE}.{os.getpid()}"
    new.write_text(json.dumps({"reason": reason[:_LONGEST]}), encoding="utf-8")
    os.replace(new, folder / KEEP_FILE)  # in one stroke: whoever reads it finds all of it


def asked(folder: Path) -> str | None:
    """Why what is held is to be kept; None where nobody asks for it."""
    try:
        text = (folder / KEEP_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    try:
        return str(json.loads(text)["reason"])[:_LONGEST]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "asked for"
