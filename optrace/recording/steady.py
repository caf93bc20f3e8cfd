"""The straight path of a steady loop: what an event costs where everything is as it was at the same call a turn before.

Between two calls of torch the recorder's code and data leave the processor's caches, so what counts is how much
of both a call touches. Here each of the three calls goes through two short functions: one looks whether anything was
touched since the last event, the other at what the call did. What there is to look up was looked up when the call
was first met; what is known of the values lies in a `Picture`. Whatever is not as expected (another thread, a call
within a call, a value touched by hand, a new module, …) is left to the general way, which begins with `settle` and
decides everything anew. So no event comes from here that the general way would not have made of the same bytes.
"""

from __future__ import annotations

import threading
import time
from itertools import compress
from operator import eq, is_, ne
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from optrace.recording.groups import same_members
from optrace.recording.losses import Sentinel, unwrapped
from optrace.recording.outcomes import Plan, Reach
from optrace.recording.picture import (
    MOST_BYTES,
    NONE,
    Mask,
    Moved,
    Picture,
    State,
    data_ptr,
    grad_of,
    is_contiguous,
    is_leaf,
    mask_of,
    version_of,
)
from optrace.recording.registry import real
from optrace.recording.scopes import Scope, frame_id
from optrace.trace.format import Flag, Op

if TYPE_CHECKING:
    from optrace.recording.recorder import Recorder

_now = time.perf_counter_ns
_thread = threading.get_ident
_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_Tensor = torch.Tensor
_SLACK = 512  # what the general way leaves free, and more
_NAN = float("nan")
_EXACT, _LOSS = int(Flag.EXACT), int(Flag.LOSS)
_DEPOSIT, _CHANGE = int(Op.DEPOSIT), int(Op.CHANGE)
_ODD = (AttributeError, TypeError, RuntimeError)  # a parameter that is gone, a tensor without memory or version
PATIENCE = 32
"""Calls that go the general way after a picture could not be made."""
Plans = dict[tuple[int, ...], Plan]


class Steady:
    """Takes the calls of a steady loop. Where a method says None or False, the general way is to be gone."""

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

    # What a call finds

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
        except _ODD:
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
        except _ODD:
            return None
        plan.start = start
        self._held = tensors
        return plan

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
        except (Moved, *_ODD):
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

    # What a call did

    def leave_zero_grad(self, scope: Scope) -> bool:
        """`zero_grad` is over: write its event, if it cleared all gradients."""
        self._lock.acquire()
        try:
            plan, picture = self._open, self.picture
            if (
                plan is None
                or picture is None
                or self._stack[-1] is not scope
                or _function_modes()
                or _dispatch_modes()
            ):
                return False
            identities = list(map(id, map(grad_of, self._held)))
            if identities.count(NONE) != len(identities):
                return False
            gradients = picture.gradients
            if plan.expected is not gradients.mask and plan.expected != gradients.mask:
                plan.expected = gradients.mask
                plan.outcome = plan.cleared(self._recorder.frame, self._recorder.events, gradients.present())
            gradients.cleared(identities)
            self._write(plan, scope, (), _EXACT, _NAN)
            return True
        except _ODD:
            return False
        finally:
            self._lock.release()

    def leave_backward(self, scope: Scope) -> bool:
        """`backward` is over: write its event, if every gradient that is there was touched and is another."""
        self._lock.acquire()
        try:
            plan, picture = self._open, self.picture
            if (
                plan is None
                or picture is None
                or self._stack[-1] is not scope
                or _function_modes()
                or _dispatch_modes()
            ):
                return False
            gradients = picture.gradients
            found: list[Any] = list(map(grad_of, self._held))
            identities = list(map(id, found))
            mask = mask_of(identities)
            if mask is not None:
                found = list(compress(found, mask))
            reach = self._reaches.get(mask)
            if reach is None:
                reach = self._reaches[mask] = Reach(gradients, mask, self._most())
            if (
                not reach.usable
                or self._recorder.writer.tensors.size + reach.size > self._limit
                or not reach.fits(found)
            ):
                return False
            versions = list(map(version_of, found))
            pointers = list(map(data_ptr, found))
            views = reach.views_at(pointers)
            if views is None:
                return False
            contents = list(map(bytes, views))
            if gradients.pointers and not (
                gradients.mask == mask
                and all(map(ne, versions, gradients.versions))
                and all(map(ne, contents, gradients.contents))
            ):
                return False
            zero = list(map(eq, contents, reach.zeros))
            if plan.expected != zero or plan.reach is not reach:
                plan.reach, plan.expected = reach, zero
                which = [[True] * len(zero), zero]
                plan.outcome = plan.changed(self._recorder.frame, self._recorder.events, _DEPOSIT, reach.slots, which)
            gradients.identities, gradients.mask = identities, mask
            gradients.versions, gradients.pointers = versions, pointers
            gradients.views, gradients.contents = views, contents
            gradients.joined = b"".join(contents)
            self._write(plan, scope, contents, _EXACT | _LOSS, scope.loss)
            return True
        except _ODD:
            return False
        finally:
            self._lock.release()

    def leave_step(self, optimizer: Optimizer) -> bool:
        """A step is over: write its event."""
        self._lock.acquire()
        try:
            plan, picture = self._open, self.picture
            if plan is None or picture is None or _thread() != self._thread or _function_modes() or _dispatch_modes():
                return False
            scope = self._stack[-1]
            if scope.target is not optimizer or scope.nested:
                return False
            entry = plan.entry
            assert entry is not None
            state = picture.states[entry.id]
            parameters, gradients = picture.parameters, picture.gradients
            tensors = self._held
            if list(map(data_ptr, tensors)) != parameters.pointers or not all(map(is_contiguous, tensors)):
                return False
            there: list[Any] = list(map(grad_of, tensors))
            if list(map(id, there)) != gradients.identities:
                return False
            if gradients.mask is not None:
                there = list(compress(there, gradients.mask))
            if list(map(version_of, there)) != gradients.versions or list(map(data_ptr, there)) != gradients.pointers:
                return False
            foreign = plan.foreign or optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
            if foreign and not (all(map(is_leaf, tensors)) and b"".join(gradients.views) == gradients.joined):
                return False
            contents = list(map(bytes, parameters.views))
            joined = b"".join(contents)
            values = state.values
            before, zeros = parameters.contents, parameters.zeros
            held = state.tensors(optimizer)
            if held is None or self._recorder.writer.tensors.size + state.size > self._limit:
                return False
            if held:
                if list(map(data_ptr, held)) != values.pointers or not all(map(is_contiguous, held)):
                    return False
                if not set(values.pointers).isdisjoint(gradients.pointers):
                    return False
                contents += map(bytes, values.views)
                before, zeros = before + values.contents, zeros + values.zeros
            changed = list(map(ne, contents, before))
            zero = list(map(eq, contents, zeros))
            if plan.expected != (changed, zero) or plan.reach is not state:
                plan.reach, plan.expected = state, (changed, zero)
                slots = parameters.slots + values.slots
                plan.outcome = plan.changed(
                    self._recorder.frame, self._recorder.events, _CHANGE, slots, [changed, zero]
                )
            parameters.joined = joined
            if held:
                count = len(tensors)
                parameters.contents, values.contents = contents[:count], contents[count:]
                state.versions = list(map(version_of, held))
            else:
                parameters.contents = contents
            entry.steps += 1
            self._write(plan, scope, contents, _EXACT, _NAN)
            return True
        except _ODD:
            return False
        finally:
            self._lock.release()

    def _write(self, plan: Plan, scope: Scope, contents: Any, flags: int, loss: float) -> None:
        """Write the event, and end the call."""
        recorder = self._recorder
        frame, writer = recorder.frame, recorder.writer
        outcome = plan.outcome
        if outcome.length:
            stored = contents if outcome.stored is None else compress(contents, outcome.stored)
            stream = writer.tensors
            place = stream.take(outcome.length)
            if place >= 0:
                outcome.pack(stream.block.data, place, *stored)
                frame.start = stream.size - outcome.length
            else:
                frame.start = stream.align()
                for content in stored:
                    stream.append_aligned(content, len(content))
        elif outcome.effect >= 0:
            frame.start = writer.tensors.align()
        del self._stack[-1]
        self._open, self.root, self._held = None, 0, []
        recorder.pass_line(plan.line, plan.key)
        if plan.kind == "step":
            recorder.stepped()
        recorder.record(scope, plan.code, 0, flags, plan.number, outcome.effect, loss)


def writes_gradients(optimizer: Optimizer) -> bool:
    """Whether a step may change gradients uncounted by torch: it unscales them, or runs code that is not torch's."""
    if getattr(optimizer, "grad_scale", None) is not None or optimizer._optimizer_step_pre_hooks:
        return True
    return not type(optimizer).__module__.startswith("torch.optim.")
