"""Which models, parameters and optimizers there are, and what they are called.

Torch's global registration hooks say which module owns which parameter, without the user passing
a model. Names are settled at the next event, when the user's variables exist.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as _hooks
from torch.optim import Optimizer

from optrace.recording.capture import Slot
from optrace.recording.entries import TrackedOptimizer, slots
from optrace.recording.groups import Groups, same_members
from optrace.recording.models import Models
from optrace.recording.parameters import Parameters
from optrace.recording.patches import subclasses
from optrace.recording.placements import shards_behind
from optrace.recording.sites import CallSites
from optrace.recording.variables import find_variables
from optrace.trace.writer import TraceWriter

_MAX_WRAPPERS = 8
_GONE = 1000  # optimizers that do not exist any more, of which this is remembered


class Registry:
    """Follows models and optimizers as they are made. `refresh` settles what is new."""

    def __init__(self, writer: TraceWriter, sites: CallSites) -> None:
        self._writer = writer
        self._sites = sites
        self.parameters = Parameters(writer)
        self.of = self.parameters.of
        self.models = Models(writer, self.parameters, self._disturb)
        self.groups = Groups(writer, self.parameters.of)
        self.optimizers: list[TrackedOptimizer] = []
        self.count = 0
        """How many optimizers there have been."""
        self.on_forget: Callable[[list[Slot]], None] = lambda slots: None
        """Hears of values that are gone with their parameter or optimizer."""
        self.dirty = True
        self._optimizer_by_id: dict[int, TrackedOptimizer] = {}
        self._numbers: dict[str, int] = {}  # of optimizers by class
        self._unread: dict[int, weakref.ref[Optimizer]] = {}  # new optimizers, by id
        self._removers: list[Any] = []
        self._held: list[weakref.ref[Optimizer]] = []  # there before, and nothing ties them to this run yet

    # Following

    def follow(self) -> None:
        """Find what exists, and hear of what will be made."""
        gc.collect()  # models that nobody holds any more are not part of this run
        wanted = {id(kind) for base in (nn.Module, Optimizer) for kind in subclasses(base)}
        for thing in [thing for thing in gc.get_objects() if id(type(thing)) in wanted]:
            kind = type(thing)
            try:
                if issubclass(kind, nn.Module):
                    self.models.was_there(thing)
                elif issubclass(kind, Optimizer) and not any(ref() is thing for ref in self._unread.values()):
                    self.models.found.add(id(thing))
                    if real(thing) is thing:
                        self.saw_optimizer(thing)
            except ReferenceError:
                continue
        self._removers = [
            _hooks.register_module_module_registration_hook(lambda m, name, child: self.models.saw_module(m, child)),
            _hooks.register_module_parameter_registration_hook(lambda m, name, p: self.models.saw_module(m)),
        ]

    def unfollow(self) -> None:
        for remover in self._removers:
            remover.remove()
        self._removers = []

    def saw_optimizer(self, optimizer: Optimizer, chain: int | None = None) -> None:
        if chain is not None:
            self.models.made_at[id(optimizer)] = chain
            weakref.finalize(optimizer, self.models.made_at.pop, id(optimizer), None).atexit = False
        self._unread[id(optimizer)] = weakref.ref(optimizer)
        self.dirty = True

    def _disturb(self) -> None:
        self.dirty = True

    # Looking up

    def optimizer(self, optimizer: Optimizer, frame: FrameType | None) -> TrackedOptimizer:
        """The optimizer's entry, made now if it is new; its membership brought up to date."""
        optimizer = real(optimizer)
        known = self._known(optimizer)
        if not same_members(optimizer, known):
            self._join(known, optimizer, frame)
        return known

    def known(self, optimizer: Optimizer) -> TrackedOptimizer | None:
        """The optimizer's entry, if it has one; `optimizer` is no wrapper."""
        known = self._optimizer_by_id.get(id(optimizer))
        return known if known is not None and known.ref() is optimizer else None

    def gone(self, key: int) -> bool:
        """Whether it was an optimizer that had this `id()`, and it does not exist any more."""
        known = self._optimizer_by_id.get(key)
        return known is not None and known.ref() is None

    def optimizer_id(self, optimizer: Optimizer) -> int:
        """The optimizer's number, given out now if it is new."""
        return self._known(real(optimizer)).id

    def _known(self, optimizer: Optimizer) -> TrackedOptimizer:
        known = self._optimizer_by_id.get(id(optimizer))
        if known is None or known.ref() is not optimizer:
            known = self._add_optimizer(optimizer)
            self._unread[id(optimizer)] = known.ref
            self.dirty = True
        return known

    def refresh(self, frame: FrameType | None) -> None:
        """Settle models, names and parameters that appeared since the last event."""
        self.dirty = False
        unread, self._unread = self._unread, {}
        optimizers = [o for o in (ref() for ref in unread.values()) if o is not None]
        modules = self.models.roots()
        nameless = [t for t in self.optimizers if t.variable is None]
        wanted: list[object] = [*modules, *optimizers]
        wanted += [o for o in (t.ref() for t in nameless) if o is not None]
        found = find_variables(frame, wanted, self._sites.is_ours, self._sites.is_library) if wanted else {}
        self.models.settle(modules, found)
        optimizers += [o for o in (ref() for ref in self._held) if o is not None]
        self._held = []
        for optimizer in optimizers:
            if self.models.takes_part(optimizer, found) or self._trains_ours(optimizer):
                self.groups.version(self.optimizer(optimizer, frame), optimizer)
            else:
                self._held.append(weakref.ref(optimizer))
        for entry in self.optimizers:
            known = entry.ref()
            if entry.variable is None and known is not None and id(known) in found:
                entry.variable = found[id(known)]
                self._writer.row("UPDATE optimizer SET variable = ? WHERE id = ?", entry.variable, entry.id)
        self.forget_dead()
        self.dirty = bool(self._unread) or (frame is None and bool(self.models.held or self._held))

    def forget_dead(self) -> None:
        """Leave out what is gone: a program may make models and optimizers anew without end."""
        self.models.forget_dead()
        forgotten = [slot for tracked in self.parameters.forget_dead() for slot in slots(tracked)]
        dead = {entry.id for entry in self.optimizers if entry.ref() is None}
        if dead:
            for entry in self.optimizers:
                if entry.id in dead:
                    entry.plan, entry.members, entry.values, entry.groups, entry.simple = [], [], None, None, None
            self.optimizers = [entry for entry in self.optimizers if entry.id not in dead]
            for tracked in self.parameters.tracked:
                for number in tracked.state.keys() & dead:
                    forgotten += tracked.state.pop(number).values()
            if len(self._optimizer_by_id) > len(self.optimizers) + 2 * _GONE:
                newest = list(self._optimizer_by_id.items())[-_GONE:]  # a turn asks only for those that were part of it
                live = {key: entry for key, entry in self._optimizer_by_id.items() if entry.ref() is not None}
                self._optimizer_by_id = {**live, **dict(newest)}
        if forgotten:
            self.on_forget(forgotten)

    def _trains_ours(self, optimizer: Optimizer) -> bool:
        return any(self.of(p) is not None for group in optimizer.param_groups for p in group["params"])

    def unknown(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Those of the tensors that are no parameter known here, nor stand in for one."""
        found = [tensor for tensor in tensors if self.of(tensor) is None]
        if found:
            shards = shards_behind(self.models.live())
            found = [tensor for tensor in found if id(tensor) not in shards]
        return found

    def add_bare(self, tensors: Iterable[torch.Tensor], frame: FrameType | None, fallback: str) -> None:
        """Track leaf tensors that no module owns, by the caller's names for them."""
        new = [t for t in tensors if self.of(t) is None]
        if new and self.models.held:
            self.models.admit(new)
            new = [t for t in new if self.of(t) is None]
        if any(isinstance(t, nn.Parameter) for t in new) and self.models.find_copies():
            self.refresh(frame)
            new = [t for t in new if self.of(t) is None]
        found = find_variables(frame, new, self._sites.is_ours, self._sites.is_library)
        for index, tensor in enumerate(new):
            self.parameters.track(
                tensor, self.parameters.unique(found.get(id(tensor), f"{fallback}.param{index}")), bare=True
            )

    def _add_optimizer(self, optimizer: Optimizer) -> TrackedOptimizer:
        class_name = type(optimizer).__name__
        number = self._numbers[class_name] = self._numbers.get(class_name, 0) + 1
        name = class_name if number == 1 else f"{class_name}#{number}"
        entry = TrackedOptimizer(self.count, name, optimizer)
        self.count += 1
        self.optimizers.append(entry)
        self._optimizer_by_id.pop(id(optimizer), None)  # the newest come last
        self._optimizer_by_id[id(optimizer)] = entry
        chain = self.models.made_at.get(id(optimizer), -1)
        self._writer.row(
            "INSERT INTO optimizer VALUES (?, ?, ?, ?, ?, ?)",
            entry.id,
            name,
            class_name,
            None,
            self.parameters.next_event(),
            chain,
        )
        return entry

    def _join(self, entry: TrackedOptimizer, optimizer: Optimizer, frame: FrameType | None) -> None:
        tensors = [p for group in optimizer.param_groups for p in group["params"] if isinstance(p, torch.Tensor)]
        self.add_bare((t for t in tensors if t.is_leaf), frame, entry.name)
        entry.plan = [t for t in map(self.of, tensors) if t is not None]
        entry.members = [[weakref.ref(p) for p in group["params"]] for group in optimizer.param_groups]
        entry.groups = entry.simple = None  # the membership is part of the groups' version
        entry.thread = 0
        self.forget_dead()


def real(optimizer: Optimizer) -> Optimizer:
    """The optimizer behind a wrapper that makes no step events of its own and hands its calls on."""
    for _ in range(_MAX_WRAPPERS):
        if getattr(type(optimizer).step, "hooked", False):
            break
        own = vars(optimizer)
        inner = own.get("optimizer", own.get("_optimizer"))
        if not isinstance(inner, Optimizer):
            break
        optimizer = inner
    return optimizer


def model_items(
    model: nn.Module | Mapping[str, nn.Module] | Iterable[nn.Module] | None,
) -> list[tuple[str | None, nn.Module]]:
    """What the user may pass as `model=`: one, several, or several by name."""
    if model is None:
        return []
    if isinstance(model, nn.Module):
        return [(None, model)]
    if isinstance(model, Mapping):
        return [(str(name), module) for name, module in model.items()]
    return [(None, module) for module in model]
