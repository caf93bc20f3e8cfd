"""Loss scaling: what a GradScaler does to the loss, the gradients and the steps."""

from __future__ import annotations

import functools
from typing import Any

from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from optrace.recording.frame import Change
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches
from optrace.recording.recorder import Recorder
from optrace.recording.scopes import Scope
from optrace.recording.wrapped import Wrapped, reading
from optrace.trace.format import Flag


def install(recorder: Recorder, patches: Patches) -> None:
    """See every call of a scaler from now on."""
    scaling = Scaling(recorder)
    patches.method(GradScaler, "scale", scaling.scale)
    patches.method(GradScaler, "unscale_", scaling.unscale)
    patches.method(GradScaler, "step", scaling.scaler_step)
    patches.method(GradScaler, "update", scaling.scaler_update)


@hidden(WRAPPERS)
class Scaling:
    """What happens around each of a scaler's calls."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._events = Wrapped(recorder)

    def scale(self, original: Any) -> Any:
        @functools.wraps(original)
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            function = getattr(result, "grad_fn", None)
            if function is not None and self._recorder.active and scaler.is_enabled():
                self._recorder.scaling = True
                function.metadata["optrace.scale"] = reading(scaler._scale)
            return result

        return scale

    def unscale(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def unscale_(scaler: Any, optimizer: Any) -> Any:
            if not scaler.is_enabled():
                return original(scaler, optimizer)

            def before(scope: Scope) -> None:
                scope.detail = {"scale": reading(scaler._scale)}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                found = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
                scope.detail = {**(scope.detail or {}), "found_inf": [reading(value) for value in found]}
                changes = recorder.watch.gradients(recorder.tracked(), deposit=False, deep=True, after=True)
                return changes, self._events.optimizer_id(optimizer)

            return self._events.call("unscale", optimizer, lambda: original(scaler, optimizer), before, after)

        return unscale_

    def scaler_step(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if not recorder.active or not scaler.is_enabled() or not isinstance(optimizer, Optimizer):
                return original(scaler, optimizer, *args, **kwargs)
            entry = recorder.registry.optimizer(optimizer, None)
            steps, entry.in_scaler = entry.steps, True
            try:
                result = original(scaler, optimizer, *args, **kwargs)
            finally:
                entry.in_scaler = False
            if entry.steps == steps:

                def before(scope: Scope) -> None:
                    scope.flags |= Flag.SKIPPED | Flag.SCALER
                    scope.groups = recorder.registry.groups.version(entry, optimizer)
                    scope.detail = {"scale": reading(scaler._scale)}

                self._events.call("step", optimizer, lambda: None, before, lambda scope, result: ([], entry.id))
            return result

        return step

    def scaler_update(self, original: Any) -> Any:
        @functools.wraps(original)
        def update(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            if not scaler.is_enabled():
                return original(scaler, *args, **kwargs)

            def before(scope: Scope) -> None:
                scope.detail = {"scale_before": reading(scaler._scale)}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                scope.detail = {**(scope.detail or {}), "scale_after": reading(scaler._scale)}
                return [], -1

            return self._events.call("scaler_update", scaler, lambda: original(scaler, *args, **kwargs), before, after)

        return update
