"""Loading state into modules and optimizers."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn
from torch.optim import Optimizer

from optrace.recording.frame import Change
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches
from optrace.recording.recorder import Recorder
from optrace.recording.scopes import Scope
from optrace.recording.wrapped import Wrapped


def install(recorder: Recorder, patches: Patches) -> None:
    """See every `load_state_dict` from now on."""
    loading = Loading(recorder)
    patches.method(nn.Module, "load_state_dict", loading.load_module)
    patches.method(Optimizer, "load_state_dict", loading.load_optimizer)


@hidden(WRAPPERS)
class Loading:
    """What happens around each of these calls."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._events = Wrapped(recorder)

    def load_module(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def load_state_dict(module: Any, *args: Any, **kwargs: Any) -> Any:
            if recorder.running("load_state") is not None:
                return original(module, *args, **kwargs)

            def before(scope: Scope) -> None:
                scope.detail = {"of": "module", "class": type(module).__name__}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                if recorder.registry.dirty:
                    recorder.registry.refresh(None)
                mine = [recorder.registry.of(p) for p in module.parameters()]
                assert scope.detail is not None
                scope.detail["parameters"] = [t.id for t in mine if t is not None]
                return recorder.watch.parameters([t for t in mine if t is not None]), -1

            return self._events.call("load_state", module, lambda: original(module, *args, **kwargs), before, after)

        return load_state_dict

    def load_optimizer(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def load_state_dict(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if recorder.running("load_state") is not None:
                return original(optimizer, *args, **kwargs)

            def before(scope: Scope) -> None:
                scope.detail = {"of": "optimizer", "class": type(optimizer).__name__}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                entry = recorder.registry.optimizer(optimizer, None)
                scope.groups = recorder.registry.groups.version(entry, optimizer)
                return recorder.watch.state(entry, optimizer, deep=True, aliases=[]), entry.id

            return self._events.call(
                "load_state", optimizer, lambda: original(optimizer, *args, **kwargs), before, after
            )

        return load_state_dict
