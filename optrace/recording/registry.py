"""Which models, parameters and optimizers there are, and what they are called.

Torch's global registration hooks say which module owns which parameter, without the user passing
a model. Names are settled at the next event, when the user's variables exist.
"""

from __future__ import annotations

import gc
import json
import operator
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as _hooks
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from optrace.recording.capture import Slot
from optrace.recording.placements import (
    is_spread,
    local_of,
    of_dtensor,
    plain_names,
    process_group,
    replicas,
    shards_behind,
)
from optrace.recording.sites import CallSites
from optrace.recording.variables import find_variables
from optrace.trace.writer import TraceWriter

_MAX_WRAPPERS = 8
_is = operator.is_
_IMMUTABLE = (float, int, bool, str, type(None))


class Tracked:
    """One parameter being watched."""

    __slots__ = ("grad", "id", "leaf", "name", "parameter", "ref", "seen", "spread", "state", "thread")

    def __init__(self, number: int, name: str, tensor: torch.Tensor) -> None:
        self.id = number
        self.name = name
        self.ref = weakref.ref(tensor)
        self.parameter = Slot(number, "param")
        self.grad = Slot(number, "grad")
        self.leaf = tensor.is_leaf  # asking another for its gradient makes torch warn the user
        self.state: dict[int, dict[str, Slot]] = {}  # by optimizer, then by name
        self.seen = False  # whether its gradient has been looked at
        self.thread = 0  # the thread that last trained it
        self.spread = is_spread(tensor)  # only a part of it is in this process


class TrackedOptimizer:
    """One optimizer of the run."""

    __slots__ = (
        "groups",
        "groups_id",
        "id",
        "in_scaler",
        "members",
        "name",
        "plan",
        "ref",
        "simple",
        "steps",
        "thread",
        "values",
        "variable",
    )

    def __init__(self, number: int, name: str, optimizer: Optimizer) -> None:
        self.id = number
        self.name = name
        self.ref = weakref.ref(optimizer)
        self.variable: str | None = None
        self.steps = 0
        self.thread = 0  # the one that last made a step
        self.members: list[list[weakref.ref[torch.Tensor]]] = []  # by param group
        self.plan: list[Tracked] = []
        self.simple: list[list[Any]] | None = None  # hyperparameters as last seen, where comparing them is enough
        self.groups: list[dict[str, Any]] | None = None
        self.groups_id = -1
        self.in_scaler = False  # whether GradScaler.step is running for it
        self.values: list[list[Any]] | None = None  # as last seen, to notice quickly that nothing changed


class _Model:
    __slots__ = ("bound", "given", "id", "prefix", "ref", "training", "variable")

    def __init__(self, number: int, module: nn.Module) -> None:
        self.id = number
        self.ref = weakref.ref(module)
        self.variable: str | None = None
        self.given = False  # the user passed it
        self.prefix: str | None = None  # and, with several, called it this
        self.bound: dict[str, int] = {}  # name → id of the parameter it stands for
        self.training = True


class Registry:
    """Follows models and optimizers as they are made. `refresh` settles what is new."""

    def __init__(self, writer: TraceWriter, sites: CallSites) -> None:
        self._writer = writer
        self._sites = sites
        self.tracked: list[Tracked] = []
        self.optimizers: list[TrackedOptimizer] = []
        self.models: list[_Model] = []
        self.dirty = True
        self._by_id: dict[int, Tracked] = {}
        self._optimizer_by_id: dict[int, TrackedOptimizer] = {}
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._made_at: dict[int, int] = {}  # module or optimizer → chain of calls
        self._names: set[str] = set()
        self._optimizer_names: set[str] = set()
        self._member_sets: dict[tuple[int, ...], int] = {}
        self._unread_optimizers: list[weakref.ref[Optimizer]] = []
        self._removers: list[Any] = []
        self._found: set[int] = set()  # models and optimizers that were there before the recording
        self._held: list[weakref.ref[nn.Module]] = []  # of these, models that nothing ties to this run yet
        self._held_optimizers: list[weakref.ref[Optimizer]] = []
        self._placed: dict[int, dict[str, Any]] = {}
        self.in_group = False  # torch.distributed has brought several processes together
        self.next_event: Callable[[], int] = lambda: 0
        self.on_track: Callable[[Tracked], None] = lambda tracked: None

    # Following

    def follow(self) -> None:
        """Find what exists, and hear of what will be made."""
        gc.collect()  # models that nobody holds any more are not part of this run
        for thing in gc.get_objects():
            kind = type(thing)
            try:
                if issubclass(kind, nn.Module):
                    if id(thing) not in self._modules:
                        self._found.add(id(thing))
                    self.saw_module(thing)
                    self.note_model_site(thing, -1)
                elif issubclass(kind, Optimizer) and not any(ref() is thing for ref in self._unread_optimizers):
                    self._found.add(id(thing))
                    if real(thing) is thing:
                        self.saw_optimizer(thing)
            except ReferenceError:
                continue
        self._removers = [
            _hooks.register_module_module_registration_hook(lambda m, name, child: self.saw_module(m, child)),
            _hooks.register_module_parameter_registration_hook(lambda m, name, p: self.saw_module(m)),
        ]

    def unfollow(self) -> None:
        for remover in self._removers:
            remover.remove()
        self._removers = []

    def saw_module(self, *modules: nn.Module | None) -> None:
        """A module was found, or something was registered in it."""
        for module in modules:
            if module is not None and id(module) not in self._modules:
                key = id(module)
                self._modules[key] = weakref.ref(module, lambda _, key=key: self._forget_module(key))  # type: ignore[misc]
        self.dirty = True

    def _forget_module(self, key: int) -> None:
        self._modules.pop(key, None)
        self._found.discard(key)
        self._made_at.pop(key, None)  # another may get its address

    def note_model_site(self, module: nn.Module, chain: int) -> None:
        """Where a module was made."""
        self._made_at.setdefault(id(module), chain)

    def saw_optimizer(self, optimizer: Optimizer, chain: int | None = None) -> None:
        if chain is not None:
            self._made_at[id(optimizer)] = chain
        self._unread_optimizers.append(weakref.ref(optimizer))
        self.dirty = True

    def name_model(self, module: nn.Module, prefix: str | None) -> None:
        """The user said what this model is called."""
        self.saw_module(module)
        model = self._model(module)
        model.given, model.prefix = True, prefix

    # Looking up

    def of(self, tensor: torch.Tensor) -> Tracked | None:
        found = self._by_id.get(id(tensor))
        return found if found is not None and found.ref() is tensor else None

    def optimizer(self, optimizer: Optimizer, frame: FrameType | None) -> TrackedOptimizer:
        """The optimizer's entry, made now if it is new; its membership brought up to date."""
        optimizer = real(optimizer)
        known = self._known(optimizer)
        groups = optimizer.param_groups
        if len(groups) == len(known.members):
            for group, refs in zip(groups, known.members, strict=True):
                members = group["params"]
                if len(members) != len(refs) or not all(map(_is, members, [ref() for ref in refs])):
                    break
            else:
                return known
        self._join(known, optimizer, frame)
        return known

    def optimizer_id(self, optimizer: Optimizer) -> int:
        """The optimizer's number, given out now if it is new."""
        return self._known(real(optimizer)).id

    def _known(self, optimizer: Optimizer) -> TrackedOptimizer:
        known = self._optimizer_by_id.get(id(optimizer))
        if known is None or known.ref() is not optimizer:
            known = self._add_optimizer(optimizer)
            self._unread_optimizers.append(known.ref)
            self.dirty = True
        return known

    def refresh(self, frame: FrameType | None) -> None:
        """Settle models, names and parameters that appeared since the last event."""
        self.dirty = False
        unread, self._unread_optimizers = self._unread_optimizers, []
        optimizers = [o for o in (ref() for ref in unread) if o is not None]
        modules = self._roots()
        nameless = [t for t in self.optimizers if t.variable is None]
        wanted: list[object] = [*modules, *optimizers]
        wanted += [o for o in (t.ref() for t in nameless) if o is not None]
        found = find_variables(frame, wanted, self._sites.is_ours, self._sites.is_library) if wanted else {}
        self._held = [weakref.ref(m) for m in modules if not self._takes_part(m, found)]
        roots = [self._model(m) for m in modules if self._takes_part(m, found)]
        for model in roots:
            self._describe(model, found)
        self._bind(roots)
        self._place()
        optimizers += [o for o in (ref() for ref in self._held_optimizers) if o is not None]
        self._held_optimizers = []
        for optimizer in optimizers:
            if self._takes_part(optimizer, found) or self._trains_ours(optimizer):
                self.groups_version(self.optimizer(optimizer, frame), optimizer)
            else:
                self._held_optimizers.append(weakref.ref(optimizer))
        for entry in self.optimizers:
            known = entry.ref()
            if entry.variable is None and known is not None and id(known) in found:
                entry.variable = found[id(known)]
                self._writer.row("UPDATE optimizer SET variable = ? WHERE id = ?", entry.variable, entry.id)
        self.tracked = [t for t in self.tracked if t.ref() is not None]
        self.dirty = bool(self._unread_optimizers) or (frame is None and bool(self._held or self._held_optimizers))

    def _takes_part(self, thing: nn.Module | Optimizer, found: Mapping[int, str]) -> bool:
        """Whether it belongs to this run: made during it, in sight of the user's code, or given by the user.

        What else lives in the process (other cells of a notebook, other tests) does once it is trained.
        """
        if id(thing) not in self._found or id(thing) in found:
            self._found.discard(id(thing))
            return True
        return False

    def _trains_ours(self, optimizer: Optimizer) -> bool:
        return any(self.of(p) is not None for group in optimizer.param_groups for p in group["params"])

    def admit(self, tensors: Iterable[torch.Tensor]) -> None:
        """These are being trained: so the models that own them belong to this run."""
        wanted = {id(tensor) for tensor in tensors}
        for ref in list(self._held):
            module = ref()
            if module is not None and any(id(p) in wanted for p in module.parameters()):
                self._held.remove(ref)
                self._found.discard(id(module))
                model = self._model(module)
                self._describe(model, {})
                self._bind([model])

    def unknown(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Those of the tensors that are no parameter known here, nor stand in for one."""
        found = [tensor for tensor in tensors if self.of(tensor) is None]
        if found:
            shards = shards_behind(m for m in (ref() for ref in list(self._modules.values())) if m is not None)
            found = [tensor for tensor in found if id(tensor) not in shards]
        return found

    def add_bare(self, tensors: Iterable[torch.Tensor], frame: FrameType | None, fallback: str) -> None:
        """Track leaf tensors that no module owns, by the caller's names for them."""
        new = [t for t in tensors if self.of(t) is None]
        if new and self._held:
            self.admit(new)
            new = [t for t in new if self.of(t) is None]
        if any(isinstance(t, nn.Parameter) for t in new) and self._find_copies():
            self.refresh(frame)
            new = [t for t in new if self.of(t) is None]
        found = find_variables(frame, new, self._sites.is_ours, self._sites.is_library)
        for index, tensor in enumerate(new):
            self._track(tensor, self._unique(found.get(id(tensor), f"{fallback}.param{index}")), bare=True)

    def _find_copies(self) -> bool:
        """Look for modules that no registration told of: `copy.deepcopy` and `torch.load` make such.

        Looking through all objects takes long, so it is done ever less often where it finds nothing.
        """
        self._looked += 1
        if self._looked & (self._looked - 1):
            return False
        modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
        unknown = [module for module in modules if id(module) not in self._modules]
        self.saw_module(*unknown)
        self._looked = 0 if unknown else self._looked
        return bool(unknown)

    def groups_version(self, entry: TrackedOptimizer, optimizer: Optimizer) -> int:
        """The id of the param groups as they are now: members and hyperparameters."""
        # Comparing values alone is enough while their keys do not change, and takes half the time.
        if entry.simple is not None and _same_groups(optimizer.param_groups, entry.simple):
            return entry.groups_id
        values = [list(group.values()) for group in optimizer.param_groups]
        for found in values:
            for place, value in enumerate(found):
                if value.__class__ not in _IMMUTABLE:
                    found[place] = id(value) if value.__class__ is list else plain(value)
        if values == entry.values and entry.groups is not None:
            return entry.groups_id
        entry.values = values
        groups = [
            {key: plain(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups
        ]
        if groups != entry.groups:
            entry.groups = groups
            entry.groups_id = self._groups
            self._groups += 1
            rows = [
                {"members": self._members(group["params"]), "hyper": hyper}
                for group, hyper in zip(optimizer.param_groups, groups, strict=True)
            ]
            text = json.dumps(rows, default=repr)
            self._writer.row("INSERT INTO groups VALUES (?, ?, ?)", entry.groups_id, entry.id, text)
        simple = all(map(_is_simple, optimizer.param_groups))
        entry.simple = list(map(_values, optimizer.param_groups)) if simple else None
        return entry.groups_id

    # Inside

    def _members(self, tensors: Iterable[torch.Tensor]) -> int:
        """The id of a set of members: stored once, however often a schedule changes the learning rate."""
        members = tuple(t.id for t in map(self.of, tensors) if t is not None)
        known = self._member_sets.get(members)
        if known is None:
            known = self._member_sets[members] = len(self._member_sets)
            self._writer.row("INSERT INTO members VALUES (?, ?)", known, json.dumps(members))
        return known

    def _model(self, module: nn.Module) -> _Model:
        for model in self.models:
            if model.ref() is module:
                return model
        model = _Model(len(self.models), module)
        self.models.append(model)
        return model

    def _describe(self, model: _Model, found: Mapping[int, str]) -> None:
        """Store what is known of a model that is new."""
        module = model.ref()
        if module is None or model.bound:
            return
        model.variable = model.variable or found.get(id(module))
        self._writer.row(
            "INSERT OR IGNORE INTO model VALUES (?, ?, ?, ?, ?)",
            model.id,
            type(module).__name__,
            model.variable,
            self.next_event(),
            self._made_at.get(id(module), -1),
        )

    def _roots(self) -> list[nn.Module]:
        """Modules that no other module holds and that have parameters, in the order they were made."""
        live = [m for m in (ref() for ref in list(self._modules.values())) if m is not None]
        live = [m for m in live if "_modules" in m.__dict__ and "_parameters" in m.__dict__]  # fully made
        inner = {id(child) for module in live for child in module._modules.values() if child is not None}
        return [m for m in live if id(m) not in inner and next(m.parameters(), None) is not None]

    def _bind(self, roots: list[_Model]) -> None:
        """Give every model's parameters their names."""
        fresh: dict[str, set[int]] = {}  # names that want to be used, by how many parameters
        given: dict[str, set[int]] = {}  # the same of the models that the user passed, which come first
        named: list[tuple[_Model, str, nn.Parameter]] = []
        for model in roots:
            module = model.ref()
            if module is None:
                continue
            shards = shards_behind(module.modules())
            for own_name, whole in plain_names(module):
                tensor = shards.get(id(whole), whole)
                path = own_name.encode("utf-8", "replace").decode("utf-8")
                if is_lazy(tensor):
                    self.dirty = True
                    continue
                named.append((model, path, tensor))
                if self.of(tensor) is None:
                    fresh.setdefault(path, set()).add(id(tensor))
                    if model.given:
                        given.setdefault(path, set()).add(id(tensor))
        for model, path, tensor in named:
            tracked = self.of(tensor)
            if tracked is None:
                name = path
                rivals = given if model.given else fresh
                if model.prefix or len(rivals[path]) > 1 or path in self._names:
                    prefix = model.prefix or model.variable
                    name = f"{prefix}.{path}" if prefix else path
                tracked = self._track(tensor, self._unique(name, path), bare=False)
            if model.bound.get(path) != tracked.id:
                model.bound[path] = tracked.id
                self._writer.row(
                    "INSERT INTO binding (parameter, name, model, event) VALUES (?, ?, ?, ?)",
                    tracked.id,
                    path,
                    model.id,
                    self.next_event(),
                )

    def _track(self, tensor: torch.Tensor, name: str, bare: bool) -> Tracked:
        tracked = Tracked(self._count(), name, tensor)
        self.tracked.append(tracked)
        self._by_id[id(tensor)] = tracked
        self.on_track(tracked)
        self._writer.row(
            "INSERT INTO parameter VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            tracked.id,
            name,
            ",".join(map(str, local_of(tensor).shape)),
            str(tensor.dtype).removeprefix("torch."),
            str(tensor.device),
            int(tensor.requires_grad),
            int(bare),
            self.next_event(),
        )
        self._note_placement(tracked, of_dtensor(tensor))
        return tracked

    def _place(self) -> None:
        """Store which processes train together, and which parameters they should keep equal."""
        group = None if self.in_group else process_group()
        if group is not None:
            self.in_group = True
            self._writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", "process_group", json.dumps(group))
        for tensor, placement in replicas(m for m in (ref() for ref in list(self._modules.values())) if m is not None):
            tracked = self.of(tensor)
            if tracked is not None:
                self._note_placement(tracked, placement)

    def _note_placement(self, tracked: Tracked, placement: dict[str, Any] | None) -> None:
        if placement is not None and self._placed.get(tracked.id) != placement:
            self._placed[tracked.id] = placement
            text = json.dumps(placement)
            self._writer.row("INSERT OR REPLACE INTO placement VALUES (?, ?)", tracked.id, text)

    _counted = 0
    _looked = 0
    _groups = 0

    @property
    def count(self) -> int:
        """How many parameters there have been."""
        return self._counted

    def _count(self) -> int:
        self._counted += 1
        return self._counted - 1

    def _unique(self, name: str, short: str | None = None) -> str:
        """The name itself, or with `#2`, `#3`, … where it is taken."""
        name = name.encode("utf-8", "replace").decode("utf-8")
        if name in self._names:
            base = short if short is not None else name
            number = 2
            while (name := f"{base}#{number}") in self._names:
                number += 1
        self._names.add(name)
        return name

    def _add_optimizer(self, optimizer: Optimizer) -> TrackedOptimizer:
        class_name = type(optimizer).__name__
        name, number = class_name, 1
        while name in self._optimizer_names:
            number += 1
            name = f"{class_name}#{number}"
        self._optimizer_names.add(name)
        entry = TrackedOptimizer(len(self.optimizers), name, optimizer)
        self.optimizers.append(entry)
        self._optimizer_by_id[id(optimizer)] = entry
        chain = self._made_at.get(id(optimizer), -1)
        self._writer.row(
            "INSERT INTO optimizer VALUES (?, ?, ?, ?, ?, ?)",
            entry.id,
            name,
            class_name,
            None,
            self.next_event(),
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


def _is_simple(group: dict[str, Any]) -> bool:
    """Whether its hyperparameters are as they were when they compare equal: none of them can change in place."""
    if next(iter(group), None) != "params":
        return False
    values = _values(group)
    return all(
        value.__class__ in _IMMUTABLE
        or (value.__class__ is tuple and all(item.__class__ in _IMMUTABLE for item in value))
        for value in values
    )


def _values(group: dict[str, Any]) -> list[Any]:
    """A simple group's hyperparameters: all but the first value, which is the list of parameters."""
    values = list(group.values())
    del values[0]
    return values


def _same_groups(groups: list[dict[str, Any]], before: list[list[Any]]) -> bool:
    try:
        return list(map(_values, groups)) == before
    except Exception:  # what has taken a number's place, a tensor perhaps, does not compare
        return False


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


def plain(value: Any) -> Any:
    """A hyperparameter as JSON can hold it; a tensor of one element becomes its number."""
    if isinstance(value, torch.Tensor) and not value.is_meta:
        with torch.no_grad():
            return value.detach().tolist()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value if type(value) in _IMMUTABLE else repr(value)


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
