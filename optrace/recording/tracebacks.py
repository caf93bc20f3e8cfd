"""Tracebacks as they would be without optrace: its own frames are left out of what the interpreter shows."""

from __future__ import annotations

import functools
import os
import sys
import threading
import traceback
from types import CodeType, FrameType, TracebackType
from typing import Any

from optrace.recording.hidden import HIDDEN
from optrace.recording.patches import Patches

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMOS = os.path.join(_OWN, "demos") + os.sep
_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_launcher: CodeType | None = None


def install(launcher: CodeType) -> None:
    """Leave our frames out of what is shown when a thread dies. A hook of the program's own stays its own.

    `launcher` is the code that calls the program: nothing that called that is shown either.
    """
    global _launcher
    _launcher = launcher
    default = threading.excepthook
    if default is not threading.__excepthook__:
        return

    def show(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            clean(arguments.exc_value)
            arguments = threading.ExceptHookArgs(
                (arguments.exc_type, arguments.exc_value, arguments.exc_value.__traceback__, arguments.thread)
            )
        default(arguments)

    threading.excepthook = show


def leave_out(patches: Patches) -> None:
    """Leave our frames out of every traceback that is written while recording: `traceback.print_exc()`, logging."""

    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def __init__(shown: Any, kind: Any, value: Any, entries: Any, *more: Any, **named: Any) -> None:
            original(shown, kind, value, _copy_without_ours(entries), *more, **named)

        return __init__

    patches.method(traceback.TracebackException, "__init__", wrap)


def _copy_without_ours(entries: TracebackType | None) -> TracebackType | None:
    """The traceback with our frames left out; the exception keeps the one it has."""
    kept: list[TracebackType] = []
    entry = entries
    while entry is not None:
        if entry.tb_frame.f_code is _launcher:
            kept.clear()
        elif not _is_ours(entry.tb_frame):
            kept.append(entry)
        entry = entry.tb_next
    following: TracebackType | None = None
    for entry in reversed(kept):
        following = TracebackType(following, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return following


def show_without_ours(error: BaseException) -> None:
    """The interpreter is about to show `error`: let whatever hook the program has set see it cleaned."""
    if isinstance(error, SystemExit):
        return
    chosen = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = chosen
        clean(value)
        sys.last_traceback = value.__traceback__
        chosen(kind, value, value.__traceback__)

    sys.excepthook = show


def clean(error: BaseException) -> None:
    """Take our frames out of the error's traceback and of those it came from."""
    seen: set[int] = set()
    todo: list[Any] = [error]
    while todo:
        found = todo.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        found.__traceback__ = _without_ours(found.__traceback__)
        todo += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]


def innermost_of_launch(base: FrameType) -> FrameType:
    """The last frame before the program's own: `base`, or the frames it called to run the program."""
    chain: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not base:
        chain.append(frame)
        frame = frame.f_back
    if frame is None:
        return base  # another thread
    for inner in reversed(chain):
        if not _is_ours(inner) and inner.f_globals.get("__name__") != "runpy":
            break
        base = inner
    return base


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    while traceback is not None:
        if traceback.tb_frame.f_code is _launcher:
            entries.clear()
        elif _is_ours(traceback.tb_frame):
            # We stand between the frames of one import, which the interpreter would have left out.
            while entries and entries[-1].tb_frame.f_code.co_filename in _IMPORTING:
                entries.pop()
        else:
            entries.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for entry in reversed(entries):
        entry.tb_next = following
        following = entry
    return following


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith((_OWN, HIDDEN)) and not name.startswith(_DEMOS)
