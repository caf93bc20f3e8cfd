"""The models of the run, and the names that they give to parameters."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from optrace.recording.entries import Model
from optrace.recording.parameters import Parameters
from optrace.recording.placements import plain_names, process_group, replicas, shards_behind
from optrace.trace.writer import TraceWriter


class Models:
    """Follows modules as they are made. `disturbed` is called when there is something to be settled."""

    def __init__(self, writer: TraceWriter, parameters: Parameters, disturbed: Callable[[], None]) -> None:
        self._writer = writer
        self._parameters = parameters
        self._disturbed = disturbed
        self.known: list[Model] = []
        self.found: set[int] = set()
        """Modules and optimizers, by id, that were there before the recording."""
        self.made_at: dict[int, int] = {}
        """Module or optimizer, by id, and the chain of calls that made it."""
        self.held: list[weakref.ref[nn.Module]] = []
        """Of those that were there before, models that nothing ties to this run yet."""
        self.in_group = False
        """Whether torch.distributed has brought several processes together."""
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._looked = 0
        self.count = 0
        """How many models there have been."""

    def saw_module(self, *modules: nn.Module | None) -> None:
        """A module was found, or something was registered in it."""
        for module in modules:
            if module is not None and id(module) not in self._modules:
                key = id(module)
                self._modules[key] = weakref.ref(module, lambda _, key=key: self._forget_module(key))  # type: ignore[misc]
        self._disturbed()

    def _forget_module(self, key: int) -> None:
        self._modules.pop(key, None)
        self.found.discard(key)
        self.made_at.pop(key, None)  # another may get its address

    def was_there(self, module: nn.Module) -> None:
        """A module was found that may have been made before the recording."""
        if id(module) not in self._modules:
            self.found.add(id(module))
        self.saw_module(module)
        self.note_site(module, -1)

    def note_site(self, module: nn.Module, chain: int) -> None:
        """Where a module was made."""
        self.made_at.setdefault(id(module), chain)

    def name_model(self, module: nn.Module, prefix: str | None) -> None:
        """The user said what this model is called."""
        self.saw_module(module)
        model = self._model(module)
        model.given, model.prefix = True, prefix

    def live(self) -> list[nn.Module]:
        """All modules that there are."""
        return [m for m in (ref() for ref in list(self._modules.values())) if m is not None]

    def settle(self, modules: list[nn.Module], variables: Mapping[int, str]) -> None:
        """Name the parameters of the models among the user's `variables`, or made during the run."""
        self.held = [weakref.ref(m) for m in modules if not self.takes_part(m, variables)]
        roots = [self._model(m) for m in modules if self.takes_part(m, variables)]
        for model in roots:
            self._describe(model, variables)
        self._bind(roots)
        self._place()

    def takes_part(self, thing: nn.Module | Optimizer, found: Mapping[int, str]) -> bool:
        """Whether it belongs to this run: made during it, in sight of the user's code, or given by the user.

        What else lives in the process (other cells of a notebook, other tests) does once it is trained.
        """
        if id(thing) not in self.found or id(thing) in found:
            self.found.discard(id(thing))
            return True
        return False

    def admit(self, tensors: Iterable[torch.Tensor]) -> None:
        """These are being trained: so the models that own them belong to this run."""
        wanted = {id(tensor) for tensor in tensors}
        for ref in list(self.held):
            module = ref()
            if module is not None and any(id(p) in wanted for p in module.parameters()):
                self.held.remove(ref)
                self.found.discard(id(module))
                model = self._model(module)
                self._describe(model, {})
                self._bind([model])

    def forget_dead(self) -> None:
        """Leave out the models that are gone."""
        self.known = [model for model in self.known if model.ref() is not None]

    def find_copies(self) -> bool:
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

    def mode_sensitive(self, models: list[int]) -> dict[str, list[str]]:
        """Classes of the modules by which each of these works otherwise in eval: torch's own, and those that ask."""
        found: dict[str, list[str]] = {}
        for model in self.known:
            module = model.ref() if model.id in models else None
            if module is not None:
                kinds = {type(inner) for inner in module.modules()}
                found[str(model.id)] = sorted(kind.__name__ for kind in kinds if _reads_mode(kind))
        return found

    # Inside

    def _model(self, module: nn.Module) -> Model:
        for model in self.known:
            if model.ref() is module:
                return model
        model = Model(self.count, module)
        self.count += 1
        self.known.append(model)
        return model

    def _describe(self, model: Model, found: Mapping[int, str]) -> None:
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
            self._parameters.next_event(),
            self.made_at.get(id(module), -1),
        )

    def roots(self) -> list[nn.Module]:
        """Modules that no other module holds and that have parameters, in the order they were made."""
        live = self.live()
        live = [m for m in live if "_modules" in m.__dict__ and "_parameters" in m.__dict__]  # fully made
        inner = {id(child) for module in live for child in module._modules.values() if child is not None}
        return [m for m in live if id(m) not in inner and next(m.parameters(), None) is not None]

    def _bind(self, roots: list[Model]) -> None:
        """Give every model's parameters their names."""
        fresh: dict[str, set[int]] = {}  # names that want to be used, by how many parameters
        given: dict[str, set[int]] = {}  # the same of the models that the user passed, which come first
        named: list[tuple[Model, str, nn.Parameter]] = []
        for model in roots:
            module = model.ref()
            if module is None:
                continue
            shards = shards_behind(module.modules())
            for own_name, whole in plain_names(module):
                tensor = shards.get(id(whole), whole)
                path = own_name.encode("utf-8", "replace").decode("utf-8")
                if is_lazy(tensor):
                    self._disturbed()
                    continue
                named.append((model, path, tensor))
                if self._parameters.of(tensor) is None:
                    fresh.setdefault(path, set()).add(id(tensor))
                    if model.given:
                        given.setdefault(path, set()).add(id(tensor))
        # All of a model's names tell whose they are, if one of them has to.
        crowded = {
            model.id
            for model, path, tensor in named
            if self._parameters.of(tensor) is None
            and (len((given if model.given else fresh)[path]) > 1 or path in self._parameters.names)
        }
        for model, path, tensor in named:
            tracked = self._parameters.of(tensor)
            if tracked is None:
                prefix = model.prefix or (model.variable if model.id in crowded else None)
                name = f"{prefix}.{path}" if prefix else path
                tracked = self._parameters.track(tensor, self._parameters.unique(name, path), bare=False)
            if model.bound.get(path) != tracked.id:
                model.bound[path] = tracked.id
                self._writer.row(
                    "INSERT INTO binding (parameter, name, model, event) VALUES (?, ?, ?, ?)",
                    tracked.id,
                    path,
                    model.id,
                    self._parameters.next_event(),
                )

    def _place(self) -> None:
        """Store which processes train together, and which parameters they should keep equal."""
        group = None if self.in_group else process_group()
        if group is not None:
            self.in_group = True
            self._writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", "process_group", json.dumps(group))
        for tensor, placement in replicas(self.live()):
            tracked = self._parameters.of(tensor)
            if tracked is not None:
                self._parameters.note_placement(tracked, placement)


def _reads_mode(kind: type[nn.Module]) -> bool:
    code = getattr(kind.forward, "__code__", None)
    return code is None or "training" in code.co_names
