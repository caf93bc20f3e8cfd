"""What the arithmetic gives (`Account`, of `Term`s) and what it needs (`StepInput`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

AGREE_WITHIN = 4
"""Units in the last place that prediction and record may differ by and still be called equal."""


@dataclass(frozen=True)
class SparseValue:
    """A sparse (COO) tensor: `indices` is [sparse dims, nnz], `values` is [nnz, *dense dims]."""

    indices: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]
    shape: tuple[int, ...]


Tensor = np.ndarray[Any, Any] | SparseValue


@dataclass(frozen=True)
class StepInput:
    """One parameter at one step: all that a rule needs.

    Tensors have the parameter's shape and dtype, state entries whatever the optimizer gave them.
    Hyperparameters are numbers; one that is a tensor (`lr=torch.tensor(…)`) is a NumPy scalar of its dtype,
    because torch then computes with it in that dtype.
    """

    class_name: str
    hyper: Mapping[str, Any]
    before: np.ndarray[Any, Any]
    after: np.ndarray[Any, Any]
    grad: Tensor | None
    """The gradient as the step saw it, None where there was none."""
    state_before: Mapping[str, Any] = field(default_factory=dict)
    """Empty at the first step, before the optimizer made its state."""
    state_after: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    parameter: str = ""
    optimizer: str = ""
    device: str = "cpu"
    grad_scale: float | None = None
    """A GradScaler's scale, where the fused kernel itself divides the gradient by it."""
    place: tuple[int, int] | None = None
    """Flat index and number of elements in the real tensor, where the arrays here are only a part of it."""
    skipped: bool = False
    """A GradScaler left this step out."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.before.shape)


@dataclass(frozen=True)
class Term:
    """One line of an account."""

    key: str
    """Stable: `gradient`, `first_moment`, …"""
    label: str
    symbol: str
    formula: str
    """With the numbers filled in that are not on a line of their own."""
    value: float | str
    """As computed in the dtype torch computes in; text where a stage is not one number."""
    note: str = ""
    state: str = ""
    """The state entry that keeps this value."""
    recorded: float | None = None
    """That entry after the step."""
    part: str = ""
    """`real` or `imaginary`, for an element of a complex parameter."""


@dataclass(frozen=True)
class Account:
    """The arithmetic of one step for one element of one parameter."""

    optimizer: str
    rule: str
    """The optimizer class whose update rule this is; empty where none is known."""
    parameter: str
    element: tuple[int, ...]
    dtype: str
    hyper: tuple[tuple[str, str], ...]
    terms: tuple[Term, ...]
    predicted: float | complex | None
    recorded: float | complex | None
    ulps: int | None
    """How far apart, in units of the last place of the largest of old and new value."""
    within: int = AGREE_WITHIN
    """The `ulps` up to which the two are called equal."""
    source: str = ""
    """Where the formula is from."""
    reason: str = ""
    """Why there is no update, or no account of it."""

    @property
    def difference(self) -> float | complex | None:
        """Recorded minus predicted."""
        if self.predicted is None or self.recorded is None:
            return None
        return 0.0 if self.ulps == 0 and self.predicted != self.predicted else self.recorded - self.predicted

    @property
    def agrees(self) -> bool | None:
        """None where nothing was predicted."""
        return None if self.predicted is None or self.ulps is None else self.ulps <= self.within

    def __getitem__(self, key: str) -> Term:
        for term in self.terms:
            if term.key == key:
                return term
        raise KeyError(key)


class Unaccountable(Exception):
    """A rule lacks something it needs; the message says what."""
