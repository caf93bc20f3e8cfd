"""What the ledger says about one parameter at one position."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from optrace.trace.model import Optimizer, Parameter, Position, Site

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

Origin = Literal["backward", "by hand", "found"]
Fate = Literal["fresh", "applied", "cleared", "replaced", "unrecorded"]


@dataclass(frozen=True)
class Use:
    """A step that applied a contribution."""

    seq: int
    position: Position
    optimizer: Optimizer | None
    """None where the parameter was changed by hand, and no optimizer holds it."""
    site: Site | None


@dataclass(frozen=True)
class Contribution:
    """What one backward added to one parameter's gradient, and what became of it by the position asked about."""

    seq: int
    """Number of the backward's event; of the change, for a gradient put there by hand."""
    position: Position
    site: Site | None
    origin: Origin
    applied: int
    """How many steps have applied it; for a parameter that is trained by hand, how many changes of it."""
    last_use: int | None
    """Number of the last of these steps' events."""
    altered: int
    """How often it was clipped, unscaled or otherwise changed since it arrived."""
    removed: int | None
    """Number of the event that removed it, None while it is inside."""
    removed_at: Position | None
    replaced: bool
    """Another gradient was put in its place by hand, instead of clearing it."""
    unrecorded: bool
    """What became of it was not recorded: `removed` is the gap that begins there."""
    here: bool
    """It arrived in the very event asked about."""
    _value: Callable[[], Array | None] = field(repr=False, compare=False)
    _uses: Callable[[], tuple[Use, ...]] = field(repr=False, compare=False)

    @property
    def iteration(self) -> int:
        return self.position.iteration

    @property
    def fresh(self) -> bool:
        """No step has applied it yet."""
        return self.applied == 0

    @property
    def fate(self) -> Fate:
        """`fresh` or `applied` while inside the gradient; `cleared` or `replaced` afterwards; `unrecorded` in a gap."""
        if self.unrecorded:
            return "unrecorded"
        if self.removed is not None:
            return "replaced" if self.replaced else "cleared"
        return "applied" if self.applied else "fresh"

    @property
    def lost(self) -> bool:
        """It was removed before any step applied it."""
        return self.removed is not None and not self.applied and not self.unrecorded

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """The steps that applied it, in order."""
        return self._uses()

    @cached_property
    def value(self) -> Array | None:
        """The contribution itself, float64 (complex128 for complex), of the gradient's shape; the sampled
        elements where only these were kept, None where nothing was.

        The gradient after the backward minus the gradient before it: exact when the gradient was
        empty before, else it carries the rounding of torch's own addition, at most half a unit in
        the last place of the sum in the gradient's dtype.
        """
        return self._value()

    @cached_property
    def size(self) -> float | None:
        """Its 2-norm (of the sampled elements where only these were kept); None where nothing was."""
        return None if self.value is None else norm(self.value)


@dataclass(frozen=True)
class Adjustment:
    """A change of the whole gradient by something that is neither a backward nor a clearing."""

    seq: int
    position: Position
    kind: str
    """The kind of its event: clip, unscale, mutation, step, …"""
    site: Site | None
    _value: Callable[[], tuple[Array | None, Array | None]] = field(repr=False, compare=False)

    @property
    def word(self) -> str:
        """What it did, in a word or two: `clipped`."""
        words = {"mutation": "changed by hand", "clip": "clipped", "unscale": "unscaled"}
        return words.get(self.kind, f"changed in {self.kind}")

    @cached_property
    def _both(self) -> tuple[Array | None, Array | None]:
        before, after = self._value()
        if before is not None and after is not None and before.shape != after.shape:
            return None, None  # one is a sample, the other whole
        return before, after

    @cached_property
    def value(self) -> Array | None:
        """The gradient after it minus the gradient before it, float64."""
        before, after = self._both
        return None if before is None or after is None else after - before

    @cached_property
    def factor(self) -> float | None:
        """The number that it multiplied every element by, within rounding; None where it did something else."""
        before, after = self._both
        if before is None or after is None or not before.size or not np.isfinite(before).all():
            return None
        square = float(np.vdot(before, before).real)
        if square == 0 or not np.isfinite(after).all():
            return None
        factor = float(np.vdot(before, after).real) / square
        fits = np.abs(after - factor * before).max() <= 1e-2 * np.abs(after).max(initial=0)
        return factor if fits else None


class Lazy(Sequence[Contribution]):
    """Contributions made when they are looked at: a gradient that is never cleared holds very many."""

    def __init__(self, entries: Array, make: Callable[[int], Contribution]) -> None:
        self._entries = entries
        self._make = make

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Contribution: ...
    @overload
    def __getitem__(self, index: slice) -> Lazy: ...
    def __getitem__(self, index: int | slice) -> Contribution | Lazy:
        if isinstance(index, slice):
            return Lazy(self._entries[index], self._make)
        return self._make(int(self._entries[index]))

    def __repr__(self) -> str:
        return f"<{len(self)} contributions>"


@dataclass(frozen=True)
class Account:
    """The ledger of one parameter just after the event at a position.

    The contributions inside and the adjustments add up to the gradient: in float64, within the
    rounding of these additions themselves (they are differences of recorded values).
    """

    parameter: Parameter
    seq: int
    position: Position
    present: bool
    """Whether there is a gradient (it may hold zeros)."""
    unrecorded: bool
    """A gap is here: whether there is a gradient is not known."""
    inside: Sequence[Contribution]
    """The contributions in the gradient, oldest first."""
    stale: int
    """How many of them, the first ones, have been applied already."""
    adjustments: Sequence[Adjustment]
    """What else changed the gradient since it was last empty, oldest first; at most the last 64."""
    past: Sequence[Contribution]
    """Every contribution that was removed before, oldest first."""
    element: tuple[int, ...] | None = None
    _gradient: Callable[[], Array | None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def fresh(self) -> Sequence[Contribution]:
        """Contributions inside that no step has applied yet."""
        return self.inside[self.stale :]

    @cached_property
    def gradient(self) -> Array | None:
        """The gradient as torch holds it, float64; None where there is none or it was not kept."""
        return self._gradient()

    def __str__(self) -> str:
        return self.render()

    def render(self, limit: int = 6) -> str:
        """One line: what the gradient is made of. At most `limit` contributions are named, the newest."""
        from optrace.ledger.text import sentence

        return sentence(self, limit)


def norm(value: Array) -> float:
    """2-norm in float64."""
    flat = np.abs(value).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.dot(flat, flat)))


def short(file: str) -> str:
    """A path as people read it: relative where that is shorter."""
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive
        return file
    return relative if len(relative) < len(file) and not relative.startswith("..") else file
