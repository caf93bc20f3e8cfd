"""The loss that backward is called on: its number, and its graph for as long as it lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Set
from types import FrameType
from typing import Any

import torch

from optrace.recording.devices import Number
from optrace.recording.placements import whole_number
from optrace.recording.registry import Registry
from optrace.recording.scopes import Scope

_ref = weakref.ref
_WRAPPING = frozenset({"MulBackward0", "DivBackward0", "NegBackward0"})


class Sentinel:
    """Held by a loss graph's metadata alone: alive exactly as long as the graph is."""

    __slots__ = ("__weakref__", "event")

    def __init__(self) -> None:
        self.event = -1  # of the first backward through the graph


class LossGraphs:
    """Follows the graphs of the losses. `met` is called when leaves turned up that nobody knew."""

    def __init__(self, registry: Registry, met: Callable[[], None]) -> None:
        self._registry = registry
        self._met = met
        self.live: set[weakref.ref[Sentinel]] = set()
        """Graphs that are still there after a backward through them."""
        self._forget = self.live.discard
        self.walked: dict[int, int] = {}
        """How often backward was called, by chain of calls."""

    def enter(self, scope: Scope, roots: list[torch.Tensor], frame: FrameType) -> None:
        """Before a backward: leaves nobody knows yet, and a sentinel in the loss's graph."""
        functions = [root.grad_fn for root in roots if root.grad_fn is not None]
        count = self.walked.get(scope.chain, 0) + 1
        self.walked[scope.chain] = count
        if count & (count - 1) == 0:
            self._find_leaves(functions, roots, frame)
        if functions:
            metadata: dict[str, Any] = unwrapped(functions[0]).metadata
            sentinel = metadata.get("optrace")
            if sentinel is None:
                sentinel = metadata["optrace"] = Sentinel()
                self.add(sentinel)
            elif sentinel.event >= 0:
                scope.detail = {**(scope.detail or {}), "same_graph_as": sentinel.event}
            scope.sentinel = sentinel

    def add(self, sentinel: Sentinel) -> None:
        """A loss's graph was met for the first time."""
        self.live.add(_ref(sentinel, self._forget))

    def forget(self, chains: Set[int]) -> None:
        """No backward comes from other chains of calls than these any more."""
        self.walked = {chain: count for chain, count in self.walked.items() if chain in chains}

    def _find_leaves(self, functions: list[Any], roots: list[torch.Tensor], frame: FrameType) -> None:
        """Walk the graph for leaf tensors that no module and no optimizer has."""
        leaves = {id(root): root for root in roots if root.is_leaf and root.requires_grad}
        seen: set[Any] = set()
        todo = list(functions)
        while todo:
            function = todo.pop()
            if function is None or function in seen:
                continue
            seen.add(function)
            leaf = getattr(function, "variable", None)
            if isinstance(leaf, torch.Tensor) and leaf.is_leaf:
                leaves[id(leaf)] = leaf
            todo += [following for following, _ in function.next_functions]
        unknown = self._registry.unknown(leaves.values())
        if unknown:
            self._registry.add_bare(unknown, frame, "leaf")  # or admit the models that own them
            self._met()


def unwrapped(function: Any) -> Any:
    """The node of the loss itself, below what only scales it: `loss / 8`, `scaler.scale(loss)`.

    The wrapper's node goes with the expression it stood in; the loss's own lives as long as its graph.
    """
    while function.name() in _WRAPPING:
        inputs = [following for following, _ in function.next_functions if following is not None]
        if len(inputs) != 1 or hasattr(inputs[0], "variable"):
            break
        (function,) = inputs
    return function


def scalar_loss(roots: list[torch.Tensor]) -> Any:
    """The loss as a number, one that is read later where reading now would wait for a device; None for none."""
    if len(roots) != 1:
        values = [scalar_loss([root]) for root in roots]
        return sum(values) if values and all(type(v) is float for v in values) else None
    root = whole_number(roots[0])
    if root is None or root.numel() != 1 or root.is_complex() or root.is_meta:
        return None
    if root.is_cpu:
        return float(root.item())
    with torch.no_grad():
        return Number(root)


def loss_scale(roots: list[torch.Tensor]) -> Any:
    """The GradScaler scale that the loss carries, found in the first few nodes of its graph."""
    todo: list[Any] = [(root.grad_fn, 0) for root in roots]
    while todo:
        function, depth = todo.pop()
        if function is None:
            continue
        scale = function.metadata.get("optrace.scale")
        if scale is not None:
            return scale
        if depth < 3:
            todo += [(following, depth + 1) for following, _ in function.next_functions]
    return None
