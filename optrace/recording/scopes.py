"""The recorded calls that are running, thread by thread."""

from __future__ import annotations

import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from optrace.recording.entries import TrackedOptimizer

if TYPE_CHECKING:
    from optrace.recording.losses import Sentinel

_thread = threading.get_ident


class Scope:
    """A recorded call that is running."""

    recorded = True  # False: it falls into a gap
    flags = 0
    groups = -1
    loss: Any = None  # a float, or a tensor to be read later
    root = 0  # id() of what backward was called on
    nested = 0  # calls of the same kind on the same object inside this one
    frame_id: tuple[int, int] | None = None  # of torch's step wrapper, to notice that it raised
    entry: TrackedOptimizer | None = None
    detail: dict[str, Any] | None = None
    sentinel: Sentinel | None = None

    def __init__(self, kind: str, target: object, chain: int, start: int) -> None:
        self.kind = kind
        self.target = target
        self.chain = chain
        self.start = start


class Scopes:
    """A stack of running calls for every thread, outermost first."""

    def __init__(self) -> None:
        self.by_thread: dict[int, list[Scope]] = {}

    def here(self) -> list[Scope]:
        """The calls that are running on this thread."""
        thread = _thread()
        stack = self.by_thread.get(thread)
        if stack is None:
            stack = self.by_thread[thread] = self._adopt(thread)
        return stack

    def _adopt(self, thread: int) -> list[Scope]:
        """Autograd's own threads work for the one thread that is running a backward."""
        if thread not in threading._active:  # type: ignore[attr-defined]
            running = [s for s in self.by_thread.values() if any(scope.kind == "backward" for scope in s)]
            if len(running) == 1:
                return running[0]
        return []

    def running(self, kind: str, target: object | None = None) -> Scope | None:
        """The innermost running call of a kind (on an object) on this thread."""
        stack = self.by_thread.get(_thread())
        if not stack:
            if stack is None:
                stack = self.here()
            if not stack:
                return None
        for scope in stack[::-1]:
            if scope.kind == kind and (target is None or scope.target is target):
                return scope
        return None

    @property
    def any_running(self) -> bool:
        """Whether a recorded call is running, on any thread."""
        return any(self.by_thread.values())

    def cancel(self, scope: Scope) -> None:
        """The call turned out to be no event."""
        stack = self.here()
        if scope in stack:
            stack.remove(scope)


def frame_id(frame: FrameType) -> tuple[int, int]:
    """Tells a running frame from others. Another function's frame may take over the memory of one that ended."""
    return id(frame), id(frame.f_code)


def frames_above(frame: FrameType) -> set[tuple[int, int]]:
    """All frames that called this one, the nearest and the farthest."""
    running: set[tuple[int, int]] = set()
    walk = frame.f_back
    while walk is not None:
        running.add(frame_id(walk))
        walk = walk.f_back
    return running
