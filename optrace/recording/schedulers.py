"""Learning rate schedulers: their steps, with the rates before and after."""

from __future__ import annotations

import functools
import sys
import weakref
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from optrace.recording.frame import Change
from optrace.recording.groups import plain
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches, subclasses
from optrace.recording.recorder import Recorder
from optrace.recording.scopes import Scope
from optrace.recording.wrapped import Wrapped

_getframe = sys._getframe


def install(recorder: Recorder, patches: Patches) -> None:
    """See every scheduler's step from now on."""
    schedulers = Schedulers(recorder, patches)
    for cls in subclasses(LRScheduler):
        patches.method(cls, "step", schedulers.scheduler_step)
    patches.method(LRScheduler, "__init__", schedulers.scheduler_init)


@hidden(WRAPPERS)
class Schedulers:
    """What happens around a scheduler's step."""

    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._events = Wrapped(recorder)
        self._patches = patches
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._next = 0

    def scheduler_step(self, original: Any) -> Any:
        @functools.wraps(original)
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            # Part of making it; a step that overrides another calls that one by super().
            initial = getattr(scheduler, "_is_initial", False) or _getframe(2).f_code.co_name == "_initial_step"
            if initial or self._recorder.running("scheduler_step") is not None:
                return original(scheduler, *args, **kwargs)
            optimizer = getattr(scheduler, "optimizer", None)
            detail: dict[str, Any] = {"scheduler": type(scheduler).__name__}

            def before(scope: Scope) -> None:
                detail["id"], new = self._scheduler(scheduler)
                if new:
                    detail["settings"] = _settings(scheduler)
                detail["lr_before"] = rates(optimizer)
                scope.detail = detail

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                detail["lr_after"] = rates(optimizer)
                detail["last_epoch"] = plain(getattr(scheduler, "last_epoch", None))
                return [], self._events.optimizer_id(optimizer)

            return self._events.call(
                "scheduler_step", scheduler, lambda: original(scheduler, *args, **kwargs), before, after
            )

        return self._recorder.compiled.transparent(original, step)

    def scheduler_init(self, original: Any) -> Any:
        @functools.wraps(original)
        def __init__(scheduler: Any, *args: Any, **kwargs: Any) -> None:
            self._patches.lineage(type(scheduler), LRScheduler, "step", self.scheduler_step)
            original(scheduler, *args, **kwargs)

        return __init__

    def _scheduler(self, scheduler: Any) -> tuple[int, bool]:
        """The scheduler's number, and whether it is seen for the first time."""
        known = self._known.get(id(scheduler))
        if known is not None and known[0]() is scheduler:
            return known[1], False
        number, self._next = self._next, self._next + 1
        key = id(scheduler)
        self._known[key] = (weakref.ref(scheduler, lambda _: self._known.pop(key, None)), number)
        return number, True


def rates(optimizer: Any) -> list[Any]:
    """The learning rate of each param group."""
    return [plain(group.get("lr")) for group in getattr(optimizer, "param_groups", [])]


def _settings(scheduler: Any) -> dict[str, Any]:
    """The scheduler's own plain attributes: T_max, step_size, milestones, …"""
    plain_types = (bool, int, float, str, list, tuple)
    return {
        name: plain(value)
        for name, value in vars(scheduler).items()
        if not name.startswith("_") and isinstance(value, plain_types) and name != "optimizer"
    } | ({"milestones": sorted(scheduler.milestones)} if hasattr(scheduler, "milestones") else {})
