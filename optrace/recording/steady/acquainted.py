"""What is known of a steady loop: each of its calls, and all its values as they were last seen."""

from __future__ import annotations

import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from optrace.recording.registry import real
from optrace.recording.scopes import Scope
from optrace.recording.steady.outcomes import Plan, Reach
from optrace.recording.steady.picture import MOST_BYTES, Mask, Moved, Picture

if TYPE_CHECKING:
    from optrace.recording.recorder import Recorder

_thread = threading.get_ident
_SLACK = 512  # what the general way leaves free, and more
ODD = (AttributeError, TypeError, RuntimeError)
"""What is raised by a parameter that is gone, a tensor without memory or version."""
PATIENCE = 32
"""Calls that go the general way after a picture could not be made."""
Plans = dict[tuple[int, ...], Plan]


class Acquainted:
    """Knows the calls and the values of a loop, as long as it is steady."""

    off = False
    """Set by tests: everything goes the general way."""

    def __init__(self, recorder: Recorder, base: FrameType | None) -> None:
        self._recorder = recorder
        self._base = base
        self._lock = recorder.lock
        self.picture: Picture | None = None
        """What is known of the values, while it is not in their slots."""
        self.root = 0
        """id() of what backward was called on, while it runs on this path."""
        self._open: Plan | None = None  # the call that is running on this path
        self._stack: list[Scope] = []
        self._thread = 0
        self._patience = 0
        self._limit = 0  # bytes of tensors up to which everything is kept whole
        self._held: list[Any] = []  # the parameters, while a call runs
        self._clears: Plans = {}
        self._backwards: Plans = {}
        self._steps: Plans = {}
        self._layout: list[Any] = []
        self._reaches: dict[Mask, Reach] = {}

    def settle(self) -> None:
        """Leave everything to the general way. The lock is held."""
        picture, self.picture = self.picture, None
        if picture is not None:
            self._open, self.root, self._held = None, 0, []
            picture.settle()
            self._recorder.watch.settled()

    def _plan(self, plans: Plans, kind: str, target: Any, frame: FrameType) -> Plan | None:
        """What is known of a call on this object from this place."""
        place = [id(target)]
        base = self._base
        walk: FrameType | None = frame
        while walk is not None and walk is not base:
            place.append(id(walk.f_code))
            place.append(walk.f_lasti)
            walk = walk.f_back
        key = tuple(place)
        plan = plans.get(key)
        if plan is None:
            plan = self._meet(kind, target, frame)
            if plan is None:
                return None
            plans[key] = plan
        if plan.ref() is not target:  # another has taken its place in memory
            del plans[key]
            return None
        return plan

    def _meet(self, kind: str, target: Any, frame: FrameType) -> Plan | None:
        """A call of the loop is met for the first time."""
        recorder = self._recorder
        entry = None
        if isinstance(target, Optimizer):
            entry = recorder.registry.known(target) if real(target) is target else None
            if entry is None:
                return None
        return Plan(kind, recorder.sites.chain(frame), target, entry)

    def _take_picture(self) -> Picture | None:
        """What is in the slots, side by side; None where the general way is to be gone."""
        if self._patience:
            self._patience -= 1
            return None
        recorder, frame = self._recorder, self._recorder.frame
        stacks = recorder.scopes.by_thread
        thread = _thread()
        if (
            self.off
            or len(stacks) != 1
            or thread not in stacks
            or stacks[thread]
            or frame.codes
            or frame.unselected
            or frame.keyframe
            or recorder.pace.selective
            or recorder.chunks is not None
            or recorder.registry.dirty
            or recorder.registry.models.in_group
            or not recorder.parameters.tracked
        ):
            return None
        try:
            picture = Picture(recorder.parameters.tracked)
        except (Moved, *ODD):
            self._patience = PATIENCE
            return None
        if max(len(zero) for zero in picture.parameters.zeros) > self._most():
            self._patience = PATIENCE
            return None
        self._limit = (min(frame.until, frame.whole_until) if frame.whole else frame.until) - _SLACK
        layout = [
            self._most(),
            *picture.parameters.slots,
            *(s.form for s in picture.parameters.slots),
            *picture.gradients.forms,
        ]
        if layout != self._layout:
            self._layout = layout
            self._reaches.clear()
            for plans in (self._clears, self._backwards, self._steps):
                plans.clear()
        self._stack, self._thread = stacks[thread], thread
        self.picture = picture
        return picture

    def _most(self) -> int:
        """Bytes that a value may have to be kept whole."""
        frame = self._recorder.frame
        return MOST_BYTES if frame.whole else frame.small
