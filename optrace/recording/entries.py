"""What is known of one parameter, one optimizer, one model."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optrace.recording.capture import Slot
from optrace.recording.placements import is_spread


class Tracked:
    """One parameter being watched."""

    __slots__ = ("first", "grad", "id", "leaf", "name", "parameter", "ref", "seen", "spread", "state", "thread")

    def __init__(self, number: int, name: str, tensor: torch.Tensor) -> None:
        self.id = number
        self.name = name
        self.ref = weakref.ref(tensor)
        self.parameter = Slot(number, "param")
        self.grad = Slot(number, "grad")
        self.leaf = tensor.is_leaf  # asking another for its gradient makes torch warn the user
        self.state: dict[int, dict[str, Slot]] = {}  # by optimizer, then by name
        self.first = -1  # the optimizer whose state has plain names
        self.seen = False  # whether its gradient has been looked at
        self.thread = 0  # the thread that last trained it
        self.spread = is_spread(tensor)  # only a part of it is in this process


def slots(tracked: Tracked) -> list[Slot]:
    """A parameter's own value, its gradient and its state entries."""
    return [tracked.parameter, tracked.grad, *(s for entries in tracked.state.values() for s in entries.values())]


class TrackedOptimizer:
    """One optimizer of the run."""

    __slots__ = (
        "groups",
        "groups_id",
        "id",
        "in_scaler",
        "member_sets",
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
        self.member_sets: list[int] = []  # of that version
        self.in_scaler = False  # whether GradScaler.step is running for it
        self.values: list[list[Any]] | None = None  # as last seen, to notice quickly that nothing changed


class Model:
    __slots__ = ("bound", "given", "id", "prefix", "ref", "training", "variable")

    def __init__(self, number: int, module: nn.Module) -> None:
        self.id = number
        self.ref = weakref.ref(module)
        self.variable: str | None = None
        self.given = False  # the user passed it
        self.prefix: str | None = None  # and, with several, called it this
        self.bound: dict[str, int] = {}  # name → id of the parameter it stands for
        self.training = True
