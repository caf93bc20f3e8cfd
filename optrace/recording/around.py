"""The wrapped calls around the loop: clipping, schedulers, loss scaling, loading state."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optrace.recording.calls import made_at
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches, subclasses
from optrace.recording.placements import is_spread, whole_number
from optrace.recording.recorder import Recorder, Scope
from optrace.recording.registry import plain
from optrace.recording.unseen import call_unseen
from optrace.recording.watch import Change
from optrace.trace.format import Flag

_getframe = sys._getframe
After = Callable[[Scope, Any], "tuple[list[Change], int]"]


def install(recorder: Recorder, patches: Patches) -> None:
    """See what happens between the calls of the loop from now on."""
    around = Around(recorder, patches)
    transparent = recorder.compiled.transparent
    patches.function(clip_grad.clip_grad_norm_, lambda f: transparent(f, around.clip_norm(f)))
    patches.function(clip_grad.clip_grad_value_, lambda f: transparent(f, around.clip_value(f)))
    if hasattr(nn.utils, "clip_grads_with_norm_"):
        patches.function(nn.utils.clip_grads_with_norm_, lambda f: transparent(f, around.clip_with_norm(f)))
    for cls in subclasses(LRScheduler):
        patches.method(cls, "step", around.scheduler_step)
    patches.method(LRScheduler, "__init__", around.scheduler_init)
    patches.method(GradScaler, "scale", around.scale)
    patches.method(GradScaler, "unscale_", around.unscale)
    patches.method(GradScaler, "step", around.scaler_step)
    patches.method(GradScaler, "update", around.scaler_update)
    patches.method(nn.Module, "load_state_dict", around.load_module)
    patches.method(Optimizer, "load_state_dict", around.load_optimizer)
    patches.on_undo(nn.modules.module.register_module_parameter_registration_hook(around.made_module).remove)
    patches.on_undo(nn.modules.module.register_module_module_registration_hook(around.made_module).remove)


@hidden(WRAPPERS)
class Around:
    """What happens around each of these calls."""

    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._schedulers: dict[int, tuple[weakref.ref[Any], int]] = {}

    def _call(
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

    def _gradients(self, scope: Scope, result: Any) -> tuple[list[Change], int]:
        recorder = self._recorder
        return recorder.watch.gradients(recorder.tracked(), deposit=False, deep=True), -1

    # Clipping

    def clip_norm(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_norm_(parameters: Any, max_norm: Any, norm_type: Any = 2.0, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, max_norm, norm_type, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, max_norm, norm_type, *args, **kwargs),
                {"max_norm": plain(max_norm), "norm_type": plain(norm_type)},
                norm_type,
            )

        return clip_grad_norm_

    def clip_with_norm(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grads_with_norm_(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, max_norm, total_norm, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, max_norm, total_norm, *args, **kwargs),
                {"max_norm": plain(max_norm), "norm_type": 2.0},
                2.0,
            )

        return clip_grads_with_norm_

    def clip_value(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_value_(parameters: Any, clip_value: Any, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, clip_value, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, clip_value, *args, **kwargs),
                {"clip_value": plain(clip_value), "norm_type": 2.0},
                2.0,
            )

        return clip_grad_value_

    def _clip(self, parameters: Any, call: Callable[[], Any], detail: dict[str, Any], norm_type: Any) -> Any:
        recorder = self._recorder
        tensors = [parameters] if isinstance(parameters, torch.Tensor) else parameters

        def before(scope: Scope) -> None:
            known = [recorder.registry.of(t) for t in tensors if isinstance(t, torch.Tensor)]
            detail["parameters"] = [t.id for t in known if t is not None]
            if not any(map(is_spread, tensors)):
                detail["norm_before"] = total_norm(tensors, norm_type)
            scope.detail = detail

        def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
            if "norm_before" in detail:
                detail["norm_after"] = total_norm(tensors, norm_type)
            elif isinstance(result, torch.Tensor):  # over shards only all processes together can tell: they just have
                detail["norm_before"] = _reading(whole_number(result))
            return self._gradients(scope, result)

        return self._call("clip", None, call, before, after)

    # Schedulers

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
                return [], self._number(optimizer)

            return self._call(
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
        known = self._schedulers.get(id(scheduler))
        if known is not None and known[0]() is scheduler:
            return known[1], False
        number = len(self._schedulers)
        self._schedulers[id(scheduler)] = (weakref.ref(scheduler), number)
        return number, True

    def _number(self, optimizer: Any) -> int:
        if isinstance(optimizer, Optimizer):
            return self._recorder.registry.optimizer(optimizer, None).id
        return -1

    # Loss scaling

    def scale(self, original: Any) -> Any:
        @functools.wraps(original)
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            function = getattr(result, "grad_fn", None)
            if function is not None and self._recorder.active and scaler.is_enabled():
                self._recorder.scaling = True
                function.metadata["optrace.scale"] = _reading(scaler._scale)
            return result

        return scale

    def unscale(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def unscale_(scaler: Any, optimizer: Any) -> Any:
            if not scaler.is_enabled():
                return original(scaler, optimizer)

            def before(scope: Scope) -> None:
                scope.detail = {"scale": _reading(scaler._scale)}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                found = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
                scope.detail = {**(scope.detail or {}), "found_inf": [_reading(value) for value in found]}
                changes = recorder.watch.gradients(recorder.tracked(), deposit=False, deep=True)
                return changes, self._number(optimizer)

            return self._call("unscale", optimizer, lambda: original(scaler, optimizer), before, after)

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
                    scope.groups = recorder.registry.groups_version(entry, optimizer)
                    scope.detail = {"scale": _reading(scaler._scale)}

                self._call("step", optimizer, lambda: None, before, lambda scope, result: ([], entry.id))
            return result

        return step

    def scaler_update(self, original: Any) -> Any:
        @functools.wraps(original)
        def update(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            if not scaler.is_enabled():
                return original(scaler, *args, **kwargs)

            def before(scope: Scope) -> None:
                scope.detail = {"scale_before": _reading(scaler._scale)}

            def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
                scope.detail = {**(scope.detail or {}), "scale_after": _reading(scaler._scale)}
                return [], -1

            return self._call("scaler_update", scaler, lambda: original(scaler, *args, **kwargs), before, after)

        return update

    # Loading state

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

            return self._call("load_state", module, lambda: original(module, *args, **kwargs), before, after)

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
                scope.groups = recorder.registry.groups_version(entry, optimizer)
                return recorder.watch.state(entry, optimizer, deep=True, aliases=[]), entry.id

            return self._call("load_state", optimizer, lambda: original(optimizer, *args, **kwargs), before, after)

        return load_state_dict

    # Models as they are made

    def made_module(self, module: nn.Module, name: str, parameter: Any) -> None:
        recorder = self._recorder
        if not recorder.active:
            return
        try:
            with recorder.lock:
                frame = made_at(recorder, _getframe(1))
                if frame is not None:
                    recorder.registry.note_model_site(module, recorder.sites.chain(frame))
        except Exception as error:
            recorder.fail(error)


def total_norm(tensors: Any, norm_type: Any) -> Any:
    """The norm over all gradients as torch computes it; a number, or a tensor where reading it would wait."""
    gradients = [t.grad for t in tensors if isinstance(t, torch.Tensor) and t.grad is not None]
    if not gradients:
        return 0.0
    with torch.no_grad():
        norms = [torch.linalg.vector_norm(_values(g.detach()), float(norm_type)) for g in gradients]
        if len(norms) == 1:
            return _reading(norms[0])
        first = norms[0].device
        return _reading(torch.linalg.vector_norm(torch.stack([n.to(first) for n in norms]), float(norm_type)))


def rates(optimizer: Any) -> list[Any]:
    """The learning rate of each param group."""
    return [plain(group.get("lr")) for group in getattr(optimizer, "param_groups", [])]


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.layout is torch.sparse_coo else gradient


def _listed(parameters: Any) -> Any:
    """Parameters that can be gone through more than once."""
    return parameters if isinstance(parameters, torch.Tensor) else list(parameters)


def _reading(value: Any) -> Any:
    """A number; for a tensor on a device a copy that the writer reads, so that training does not wait."""
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return None
        with torch.no_grad():
            return value.item() if value.is_cpu else value.detach().clone()
    return value


def _settings(scheduler: Any) -> dict[str, Any]:
    """The scheduler's own plain attributes: T_max, step_size, milestones, …"""
    plain_types = (bool, int, float, str, list, tuple)
    return {
        name: plain(value)
        for name, value in vars(scheduler).items()
        if not name.startswith("_") and isinstance(value, plain_types) and name != "optimizer"
    } | ({"milestones": sorted(scheduler.milestones)} if hasattr(scheduler, "milestones") else {})
