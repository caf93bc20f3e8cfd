"""optrace: the time-travel debugger for the PyTorch training loop.

    optrace run train.py                      record an unchanged script
    with optrace.record("run.optrace"): …     record a block
    trace = optrace.load("run.optrace")       read it back

Importing this is cheap: torch, NumPy and Textual are loaded when something needs them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Finding", "OptraceError", "__version__", "check", "keep", "load", "log", "mark", "record"]

if TYPE_CHECKING:
    from optrace.checks.check import check
    from optrace.checks.finding import Finding
    from optrace.errors import OptraceError
    from optrace.recording.session import record
    from optrace.trace.reader import load

_LAZY = {
    "Finding": "optrace.checks.finding",
    "OptraceError": "optrace.errors",
    "check": "optrace.checks.check",
    "load": "optrace.trace.reader",
    "load_ipython_extension": "optrace.notebook",
    "record": "optrace.recording.session",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'optrace' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def mark(name: str, value: Any = None) -> None:
    """Put a mark on the timeline: `optrace.mark("epoch", 3)`. Does nothing when nothing is recorded."""
    _put({"name": str(name), "value": value}, sys._getframe(1))


def log(**values: Any) -> None:
    """Put numbers on the timeline: `optrace.log(val_loss=0.3)`. Does nothing when nothing is recorded."""
    _put({"values": values}, sys._getframe(1))


def keep(reason: str = "") -> None:
    """End a recording of the last iterations (`last=N`, `--last N`) now and keep what it holds.

        if loss.item() > 100:
            optrace.keep("the loss went up")

    Returns when all of it is written; the training goes on unrecorded. In a recording that keeps everything it puts a
    mark with the reason on the timeline. Does nothing when nothing is recorded.
    """
    recording = _recording()
    if recording is not None:
        recording.keep(str(reason), sys._getframe(1))


def _put(detail: dict[str, Any], frame: Any) -> None:
    recording = _recording()
    if recording is not None:
        recording.mark(detail, frame)


def _recording() -> Any:
    session = sys.modules.get("optrace.recording.session")
    return session.current() if session is not None else None
