"""The wrapped calls of the loop itself: zero_grad, backward and step."""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim import optimizer as _optimizer

from optrace.recording.capture import Slot
from optrace.recording.frame import Change
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.losses import loss_scale, scalar_loss
from optrace.recording.patches import Patches, subclasses
from optrace.recording.recorder import Recorder
from optrace.recording.registry import real
from optrace.recording.scopes import Scope, frame_id
from optrace.recording.unseen import unseen
from optrace.trace.format import Flag

_getframe = sys._getframe


def install(recorder: Recorder, patches: Patches) -> None:
    """See every zero_grad, backward and step from now on."""
    calls = LoopCalls(recorder, patches)
    patches.method(torch.Tensor, "backward", calls.backward)
    patches.function(torch.autograd.backward, calls.backward)
    patches.method(nn.Module, "zero_grad", lambda f: recorder.compiled.transparent(f, calls.zero_grad(f)))
    for cls in subclasses(Optimizer):
        patches.method(cls, "zero_grad", calls.zero_grad)
    patches.method(Optimizer, "__init__", calls.optimizer_init)
    before = _optimizer.register_optimizer_step_pre_hook(recorder.compiled.hook(calls.before_step))
    after = _optimizer.register_optimizer_step_post_hook(recorder.compiled.hook(calls.after_step))
    patches.on_undo(before.remove)
    patches.on_undo(after.remove)


@hidden(WRAPPERS)
class LoopCalls:
    """What happens around each of the three calls."""

    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches

    # zero_grad

    def zero_grad(self, original: Any) -> Any:
        recorder = self._recorder
        enter = recorder.steady.enter_zero_grad

        @functools.wraps(original)
        def zero_grad(target: Any, *args: Any, **kwargs: Any) -> Any:
            if not recorder.active:
                return original(target, *args, **kwargs)
            try:
                scope = enter(target, _getframe(1))
                if scope is None:
                    whose = real(target) if isinstance(target, Optimizer) else target
                    if recorder.running("zero_grad", whose) is None:
                        # Gradients are about to go: what was done to them by hand has no effect any more.
                        scope = recorder.begin("zero_grad", whose, _getframe(1), False)
            except BaseException as error:
                recorder.fail(error)
                _reraise_unless_ours(error)
                scope = None
            if scope is None:
                return original(target, *args, **kwargs)
            failed = True
            try:
                result = original(target, *args, **kwargs)
                failed = False
                return result
            finally:
                self._after(scope, failed)

        return zero_grad

    # backward

    def backward(self, original: Any) -> Any:
        recorder = self._recorder
        steady = recorder.steady
        enter = steady.enter_backward

        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            scope = None
            if recorder.active and steady.root != id(tensors):  # Tensor.backward calls the other one
                try:
                    scope = enter(tensors, _getframe(1)) or self._enter_backward(tensors, _getframe(1))
                except BaseException as error:
                    recorder.fail(error)
                    _reraise_unless_ours(error)
            # What happens inside has this place in its chain of calls: it must be one, whichever way leads here.
            if scope is None:
                return original(tensors, *args, **kwargs)
            failed = True
            try:
                result = original(tensors, *args, **kwargs)
                failed = False
                return result
            finally:
                self._after(scope, failed)

        return backward

    def _enter_backward(self, tensors: Any, frame: FrameType) -> Scope | None:
        recorder = self._recorder
        outer = recorder.running("backward")
        # Tensor.backward, a checkpoint's inner backward; the same call again by way of a torch function mode.
        if outer is not None and (outer.root == id(tensors) or recorder.sites.is_ours(frame.f_code)):
            return None
        return self._before_backward(tensors, frame)

    @unseen
    def _before_backward(self, tensors: Any, frame: FrameType) -> Scope:
        recorder = self._recorder
        roots = [tensors] if isinstance(tensors, torch.Tensor) else [t for t in tensors if isinstance(t, torch.Tensor)]
        recorder.keep_pace()
        scope = recorder.start("backward", None, frame)
        scope.root = id(tensors)
        if not scope.recorded:
            return scope
        try:
            scope.loss = scalar_loss(roots)
            with recorder.lock:
                recorder.losses.enter(scope, roots, frame)
            scale = loss_scale(roots) if recorder.scaling else None
            if scale is not None:
                scope.flags |= Flag.SCALED
                scope.detail = {**(scope.detail or {}), "scale": scale}
            modes = recorder.modes()
            if modes is not None:
                evaluated = [int(model) for model, training in modes.items() if not training]
                sensitive = recorder.registry.models.mode_sensitive(evaluated)
                scope.detail = {**(scope.detail or {}), "training": modes, "mode_sensitive": sensitive}
        except BaseException:
            recorder.scopes.cancel(scope)
            raise
        return scope

    # zero_grad and backward are over

    def _after(self, scope: Scope, failed: bool) -> None:
        recorder = self._recorder
        if not recorder.active:
            return
        try:
            if failed or not recorder.steady.leave(scope):
                self._leave(scope, failed)
        except BaseException as error:
            recorder.fail(error)
            _reraise_unless_ours(error)

    @unseen
    def _leave(self, scope: Scope, failed: bool) -> None:
        recorder = self._recorder
        if not scope.recorded:
            recorder.skip(scope)
            return
        deposit = scope.kind == "backward"
        with recorder.lock:
            recorder.steady.settle()
            target, number = scope.target, -1
            if isinstance(target, Optimizer):
                number = recorder.registry.optimizer_id(target)
                entry = recorder.registry.known(real(target))
                if entry is not None and len(recorder.scopes.by_thread) > 1:
                    recorder.threads.trained_here(entry)  # before its first backward
            tracked = recorder.tracked()
            # What other processes contributed may arrive without torch counting it: DDP writes into its buckets.
            deep = deposit and recorder.registry.models.in_group
            changes = recorder.watch.gradients(tracked, deposit, deep, recorder.frame)
            recorder.end(scope, changes, number, failed)

    # step

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        recorder = self._recorder
        if not recorder.active:
            return
        try:
            frame = _getframe(2)  # of torch's wrapper around every step
            if recorder.steady.enter_step(optimizer, frame) is not None:
                return
            outer = recorder.running("step", optimizer)
            if outer is not None and _is_running(outer.frame_id, frame.f_back):
                outer.nested += 1  # a subclass's step calls super().step()
                return
            self._enter_step(optimizer, frame)
        except BaseException as error:
            recorder.fail(error)
            _reraise_unless_ours(error)

    @unseen
    def _enter_step(self, optimizer: Optimizer, frame: FrameType) -> None:
        recorder = self._recorder
        recorder.keep_pace()
        with recorder.lock:
            scope = recorder.start("step", optimizer, frame)
            if scope.recorded:
                self._meet_step(scope, optimizer, frame)
            else:
                scope.frame_id = frame_id(frame)

    def _meet_step(self, scope: Scope, optimizer: Optimizer, frame: FrameType) -> None:
        recorder = self._recorder
        entry = recorder.registry.optimizer(optimizer, frame)
        if recorder.registry.dirty:
            recorder.registry.refresh(frame)
        scope.entry = entry
        scope.frame_id = frame_id(frame)
        scope.groups = recorder.registry.groups.version(entry, optimizer)
        first = [t for t in entry.plan if t.parameter.content is None]
        changes = recorder.watch.parameters(first) if first else []
        if first:
            changes += recorder.watch.gradients(first, deposit=False, deep=True)
        changes += recorder.watch.state(entry, optimizer, deep=False, aliases=[])
        if changes:
            recorder.frame.add(changes, before=True)
        if entry.in_scaler:
            scope.flags |= Flag.SCALER
        found_inf = getattr(optimizer, "found_inf", None)  # a fused step under a GradScaler skips itself
        if isinstance(found_inf, torch.Tensor) and found_inf.is_cpu and found_inf.item():
            scope.flags |= Flag.SKIPPED

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        recorder = self._recorder
        if not recorder.active:
            return
        try:
            if not recorder.steady.leave_step(optimizer):
                self._leave_step(optimizer)
        except BaseException as error:
            recorder.fail(error)
            _reraise_unless_ours(error)

    @unseen
    def _leave_step(self, optimizer: Optimizer) -> None:
        recorder = self._recorder
        scope = recorder.running("step", optimizer)
        if scope is None:
            return
        if scope.nested:
            scope.nested -= 1
            return
        if not scope.recorded:
            if recorder.scaling:  # GradScaler.step asks whether it has stepped
                recorder.registry.optimizer(optimizer, None).steps += 1
            recorder.skip(scope)
            return
        with recorder.lock:
            recorder.steady.settle()
            entry = scope.entry
            assert entry is not None
            plan = entry.plan
            stepped = not scope.flags & Flag.SKIPPED
            changes: list[Change] = recorder.watch.parameters(plan, stepped)
            changes += recorder.watch.gradients(plan, deposit=False, deep=_writes_gradients(optimizer), after=True)
            aliases: list[Slot] = []
            changes += recorder.watch.state(entry, optimizer, deep=True, aliases=aliases, stepped=stepped)
            if aliases:
                shared = [[slot.parameter, slot.kind] for slot in aliases]
                scope.detail = {**(scope.detail or {}), "aliases_gradient": shared}
            entry.steps += 1
            recorder.threads.trained_here(entry)
            recorder.end(scope, changes, entry.id)

    # Optimizers as they are made

    def optimizer_init(self, original: Any) -> Any:
        recorder = self._recorder

        @functools.wraps(original)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            if not recorder.active:
                return
            try:
                with recorder.lock:
                    frame = recorder.sites.made_at(_getframe(1))
                    chain = recorder.sites.chain(frame) if frame is not None else -1
                    recorder.registry.saw_optimizer(optimizer, chain)
                    self._patches.lineage(type(optimizer), Optimizer, "zero_grad", self.zero_grad)
            except BaseException as error:
                recorder.fail(error)
                _reraise_unless_ours(error)

        return __init__


def _is_running(wanted: tuple[int, int] | None, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame_id(frame) == wanted:
            return True
        frame = frame.f_back
    return False


def _writes_gradients(optimizer: Optimizer) -> bool:
    """Whether a step may change gradients uncounted by torch: it unscales them, or runs code that is not torch's."""
    if getattr(optimizer, "grad_scale", None) is not None or optimizer._optimizer_step_pre_hooks:
        return True
    return not type(optimizer).__module__.startswith("torch.optim.")


def _reraise_unless_ours(error: BaseException) -> None:
    """Ctrl-C and the like are the user's, also when they arrive in our code."""
    if not isinstance(error, Exception):
        raise error
