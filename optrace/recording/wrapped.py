"""A wrapped call as one event: what is looked at before it, and what it changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.devices import Number
from optrace.recording.frame import Change
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.recorder import Recorder
from optrace.recording.scopes import Scope
from optrace.recording.unseen import call_unseen

_getframe = sys._getframe
After = Callable[[Scope, Any], "tuple[list[Change], int]"]


@hidden(WRAPPERS)
class Wrapped:
    """Runs calls as events."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def call(
        self,
        kind: str,
        target: object,
        call: Callable[[], Any],
        before: Callable[[Scope], None],
        after: After,
    ) -> Any:
        """Run `call` as an event. `before` fills in the scope, `after` says what changed and whose it is."""
        recorder = self._recorder
        if not recorder.active or recorder.running(kind, target) is not None:
            return call()
        try:
            scope = recorder.begin(kind, target, _getframe(2))
            if scope.recorded:
                call_unseen(before, scope)
        except Exception as error:
            recorder.fail(error)
            return call()
        failed, result = True, None
        try:
            result = call()
            failed = False
            return result
        finally:
            if recorder.active:
                try:
                    with recorder.lock:
                        changes, optimizer = call_unseen(after, scope, result) if scope.recorded else ([], -1)
                        recorder.end(scope, changes, optimizer, failed)
                except Exception as error:
                    recorder.fail(error)

    def gradients(self, scope: Scope, result: Any) -> tuple[list[Change], int]:
        recorder = self._recorder
        return recorder.watch.gradients(recorder.tracked(), deposit=False, deep=True, after=True), -1

    def optimizer_id(self, optimizer: Any) -> int:
        """The optimizer's number; -1 for what is no optimizer."""
        if isinstance(optimizer, Optimizer):
            return self._recorder.registry.optimizer(optimizer, None).id
        return -1


def reading(value: Any) -> Any:
    """A number; of a tensor on a device one that the writer reads, so that training does not wait."""
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return None
        with torch.no_grad():
            return value.item() if value.is_cpu else Number(value)
    return value
