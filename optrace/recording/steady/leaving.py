"""What a call of a steady loop did: its event is written where it did what it does every turn."""

from __future__ import annotations

import threading
from itertools import compress
from operator import eq, ne
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.scopes import Scope
from optrace.recording.steady.acquainted import ODD
from optrace.recording.steady.entering import Entering
from optrace.recording.steady.outcomes import Plan, Reach
from optrace.recording.steady.picture import (
    NONE,
    Gradients,
    data_ptr,
    grad_of,
    is_contiguous,
    is_leaf,
    mask_of,
    version_of,
)
from optrace.trace.format import Flag, Op

_thread = threading.get_ident
_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_NAN = float("nan")
_EXACT, _LOSS = int(Flag.EXACT), int(Flag.LOSS)
_DEPOSIT, _CHANGE = int(Op.DEPOSIT), int(Op.CHANGE)


class Steady(Entering):
    """Takes the calls of a steady loop, also as they end. Where a method says False, the general way is to be gone."""

    def leave(self, scope: Scope) -> bool:
        """`zero_grad` or `backward` is over: write its event, if it did to the gradients what it does every turn."""
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
            if plan.kind == "backward":
                return self._deposited(plan, picture.gradients, scope)
            return self._cleared(plan, picture.gradients, scope)
        except ODD:
            return False
        finally:
            self._lock.release()

    def _cleared(self, plan: Plan, gradients: Gradients, scope: Scope) -> bool:
        """Write the event, if all gradients are gone."""
        identities = list(map(id, map(grad_of, self._held)))
        if identities.count(NONE) != len(identities):
            return False
        if plan.expected is not gradients.mask and plan.expected != gradients.mask:
            plan.expected = gradients.mask
            plan.outcome = plan.cleared(self._recorder.frame, self._recorder.events, gradients.present())
        gradients.cleared(identities)
        self._write(plan, scope, (), _EXACT, _NAN)
        return True

    def _deposited(self, plan: Plan, gradients: Gradients, scope: Scope) -> bool:
        """Write the event, if every gradient that is there was touched and is another."""
        found: list[Any] = list(map(grad_of, self._held))
        identities = list(map(id, found))
        mask = mask_of(identities)
        if mask is not None:
            found = list(compress(found, mask))
        reach = self._reaches.get(mask)
        if reach is None:
            reach = self._reaches[mask] = Reach(gradients, mask, self._most())
        if not reach.usable or self._recorder.writer.tensors.size + reach.size > self._limit or not reach.fits(found):
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
        except ODD:
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
