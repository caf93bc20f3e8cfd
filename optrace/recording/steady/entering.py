"""What a call of a steady loop finds: whether anything was touched since the last event."""

from __future__ import annotations

import threading
import time
from operator import is_
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.groups import same_members
from optrace.recording.losses import Sentinel, unwrapped
from optrace.recording.scopes import Scope, frame_id
from optrace.recording.steady.acquainted import ODD, Acquainted, Plans
from optrace.recording.steady.outcomes import Plan
from optrace.recording.steady.picture import Moved, State, data_ptr, grad_of, version_of

_now = time.perf_counter_ns
_thread = threading.get_ident
_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_Tensor = torch.Tensor


class Entering(Acquainted):
    """Takes the calls of a steady loop as they begin. Where a method says None, the general way is to be gone."""

    def enter_zero_grad(self, target: Any, frame: FrameType) -> Scope | None:
        """`zero_grad` begins."""
        recorder = self._recorder
        self._lock.acquire()
        try:
            if recorder.gate.shut:
                scope = self._leave_out(self._clears, "zero_grad", target, frame)
                return scope
            plan = self._begin(self._clears, "zero_grad", target, frame, True, False)
            return self._enter(plan, target) if plan is not None else None
        finally:
            self._lock.release()

    def enter_backward(self, root: Any, frame: FrameType) -> Scope | None:
        """`backward` begins."""
        recorder = self._recorder
        if root.__class__ is not _Tensor or recorder.scaling:
            return None
        self._lock.acquire()
        try:
            if recorder.gate.shut:
                scope = self._leave_out(self._backwards, "backward", None, frame)
                if scope is not None:
                    scope.root = id(root)
                return scope
            plan = self._begin(self._backwards, "backward", None, frame, True, True)
            if plan is None or root.numel() != 1 or not root.is_cpu:
                return None
            function = root.grad_fn
            if function is None:
                return None
            walked = recorder.losses.walked
            count = walked.get(plan.chain, 0) + 1
            if count & (count - 1) == 0:
                return None  # now and then the graph is searched for new leaves
            for model in recorder.registry.models.known:
                module = model.ref()
                if module is not None and module.training is not model.training:
                    return None
            metadata = unwrapped(function).metadata
            loss = root.item()
            if "optrace" in metadata or loss.__class__ is not float:
                return None
            walked[plan.chain] = count
            sentinel = metadata["optrace"] = Sentinel()
            recorder.losses.add(sentinel)
            scope = self._enter(plan, None)
            scope.root = self.root = id(root)
            scope.loss = loss
            scope.sentinel = sentinel
            return scope
        finally:
            self._lock.release()

    def enter_step(self, optimizer: Optimizer, frame: FrameType) -> Scope | None:
        """A step begins. `frame` is torch's own, around every step."""
        recorder = self._recorder
        self._lock.acquire()
        try:
            if recorder.gate.shut:
                scope = self._leave_out(self._steps, "step", optimizer, frame)
                if scope is not None:
                    scope.frame_id = frame_id(frame)
                return scope
            plan = self._begin(self._steps, "step", optimizer, frame, False, True)
            if plan is None:
                return None
            entry = plan.entry
            picture = self.picture
            assert entry is not None
            assert picture is not None
            if (
                entry.in_scaler
                or entry.thread != self._thread
                or getattr(optimizer, "found_inf", None) is not None
                or getattr(optimizer, "grad_scale", None) is not None
            ):
                return None
            if plan.members is not entry.plan:  # the list is another where another tensor joined
                if entry.plan != recorder.parameters.tracked:
                    return None
                plan.members = entry.plan
            groups = optimizer.param_groups
            if len(groups) == 1 == len(entry.members):
                members = groups[0]["params"]
                if len(members) != len(self._held) or not all(map(is_, members, self._held)):
                    return None
            elif not same_members(optimizer, entry):
                return None
            state = picture.states.get(entry.id)
            if state is None:
                try:
                    state = State(entry, optimizer)
                except Moved:
                    return None
                if state.most > self._most():
                    return None
                picture.states[entry.id] = state
            elif not state.untouched(optimizer):
                return None
            number = recorder.registry.groups.version(entry, optimizer)
            scope = self._enter(plan, optimizer)
            scope.entry = entry
            scope.frame_id = frame_id(frame)
            scope.groups = number
            return scope
        except ODD:
            return None
        finally:
            self._lock.release()

    def _begin(self, plans: Plans, kind: str, target: Any, frame: FrameType, counted: bool, deep: bool) -> Plan | None:
        """The plan of a call that begins, if nothing was touched since the last event.

        Gradients are looked at by what torch has `counted`, or `deep` by their bytes, as the general way looks at them.
        """
        start = _now()
        recorder = self._recorder
        if (
            recorder.registry.dirty
            or recorder.compiled.stepped
            or recorder.restating
            or _function_modes()
            or _dispatch_modes()
        ):
            return None
        picture = self.picture or self._take_picture()
        if (
            picture is None
            or self._stack
            or _thread() != self._thread
            or len(picture.refs) != len(recorder.parameters.tracked)
        ):
            return None
        plan = self._plan(plans, kind, target, frame)
        if plan is None:
            return None
        parameters, gradients = picture.parameters, picture.gradients
        try:
            tensors: list[Any] = [ref() for ref in picture.refs]
            if list(map(data_ptr, tensors)) != parameters.pointers or b"".join(parameters.views) != parameters.joined:
                return None
            found = list(map(grad_of, tensors))
            if list(map(id, found)) != gradients.identities:
                return None
            if gradients.pointers:
                there = found if len(gradients.pointers) == len(found) else [g for g in found if g is not None]
                if list(map(data_ptr, there)) != gradients.pointers:
                    return None
                if counted and list(map(version_of, there)) != gradients.versions:
                    return None
                if deep and b"".join(gradients.views) != gradients.joined:
                    return None
        except ODD:
            return None
        plan.start = start
        self._held = tensors
        return plan

    def _leave_out(self, plans: Plans, kind: str, target: Any, frame: FrameType) -> Scope | None:
        """A call begins that is not recorded, nor is there anything to be decided: the loop goes its usual way."""
        recorder = self._recorder
        if recorder.chunks is not None:  # a ring has more to do at each call
            return None
        stack = recorder.scopes.by_thread.get(_thread())
        if stack is None or stack or len(recorder.scopes.by_thread) > 1 or recorder.scaling or not recorder.any_step:
            return None
        plan = self._plan(plans, kind, target, frame)
        if plan is None:
            return None
        following = recorder.turns.follows(plan.line, plan.key)
        if following == 0 or (following == 2 and recorder.pace.wants(recorder.turns.iteration + 1)):
            return None
        scope = Scope(kind, target, plan.chain, 0)
        scope.recorded = False
        stack.append(scope)
        return scope

    def _enter(self, plan: Plan, target: Any) -> Scope:
        self._open = plan
        scope = Scope(plan.kind, target, plan.chain, plan.start)
        self._stack.append(scope)
        return scope
