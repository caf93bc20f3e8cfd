"""Getting the screen up: a trace is opened while what the screen is made of is being imported."""

from __future__ import annotations

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

COLUMNS = ("kind", "flags", "iteration", "index", "optimizer", "effect", "groups", "loss", "stack", "offset")
"""What the screen reads of all events."""


def opened(path: str | os.PathLike[str]) -> Trace:
    """Open a trace for the screen, with the screen's modules imported. Raises `TraceError`.

    Both take as long, and each waits for the disk: side by side they take a third less time.
    """
    gc.disable()  # until the screen is there: a twelfth of the time was looking for garbage in what is imported
    sys.setswitchinterval(0.0005)
    with ThreadPoolExecutor(1, "optrace-opening") as thread:
        trace = thread.submit(_open, path)
        import_module("optrace.tui.app")
        return trace.result()


def _open(path: str | os.PathLike[str]) -> Trace:
    from optrace.trace.reader import load

    trace = load(path)
    trace.take(*COLUMNS)
    return trace
