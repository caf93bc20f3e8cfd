"""What a trace is made of: plain values between the reader and everything that uses it.

No NumPy, no torch. Positions, sites and names here are the ones people see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from optrace.trace.format import Flag, Op, Storage


class Position(NamedTuple):
    """Where an event stands: its iteration and its place in it, printed `3:1`."""

    iteration: int
    index: int  # type: ignore[assignment]  # the field's name, over tuple.index

    def __str__(self) -> str:
        return f"{self.iteration}:{self.index}"


@dataclass(frozen=True, slots=True)
class Site:
    """A line of somebody's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Placement:
    """How a parameter is spread over several processes."""

    kind: str
    """`shard`: each process holds a part of it. `replica`: each holds all of it, and they are to be equal."""
    by: str
    """Who sees to it: `DTensor` (FSDP2, tensor parallelism) or `DistributedDataParallel`."""
    ranks: tuple[int, ...]
    """Which processes."""
    shape: tuple[int, ...]
    """Of the whole parameter, where this is a shard; else ()."""
    placements: tuple[str, ...]
    """Along each dimension of the mesh: `Shard(0)`, `Replicate()`."""
    mesh: tuple[int, ...]
    """How many processes along each dimension of the mesh."""

    def __str__(self) -> str:
        among = f"{len(self.ranks)} processes"
        return f"{self.kind} of {among}, {', '.join(self.placements)}" if self.placements else f"replica of {among}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that is trained: a module's parameter or a bare tensor given to an optimizer.

    `name` is unique in the trace; `names` are all the names it goes by (tied weights have several).
    `first` is the number of the event it was first seen at.
    """

    id: int
    name: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool
    first: int
    bare: bool = False
    """True where no module owns it."""
    placement: Placement | None = None
    """How it is spread over several processes. Of a shard, `shape` is that of the part recorded here."""

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Binding:
    """A module's name came to stand for a parameter, as seen from event number `event` on."""

    parameter: int
    name: str
    model: int
    event: int


@dataclass(frozen=True, slots=True)
class Model:
    """A root module: its class, its variable's name where one was found, and where it was made."""

    id: int
    class_name: str
    variable: str | None
    event: int
    site: Site | None


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimizer of the run. `name` is unique (`Adam`, `Adam#2`); `variable` is what the user calls it."""

    id: int
    name: str
    class_name: str
    variable: str | None
    event: int
    site: Site | None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ParamGroup:
    """One of an optimizer's param groups as it was at an event."""

    parameters: tuple[int, ...]
    """Ids of its parameters, in the optimizer's order."""
    hyper: Mapping[str, Any]
    """lr, betas, weight_decay, …; every key but `params`."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one event did to one value.

    `before` marks what had already happened when the event's call began: an enclosing backward
    or step did it, or the value was seen for the first time.
    """

    parameter: int
    kind: str
    """`param`, `grad` or the name of a state entry."""
    op: Op
    storage: Storage
    before: bool
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """In bytes, from the event's first byte among the tensors."""
    nbytes: int
    optimizer: int = -1
    """For a state entry, whose state it is; -1 otherwise."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not recorded: whole iterations, or the rest of one. Its event stands in its place."""

    seq: int
    """Number of the gap's event."""
    position: Position
    """Where it begins."""
    last: int
    """The last iteration that something is missing of."""
    events: int
    """How many events were not recorded."""
    reason: str

    @property
    def first(self) -> int:
        """The first iteration that something is missing of."""
        return self.position.iteration

    def __str__(self) -> str:
        if self.first == self.last:
            what = f"iteration {self.first}" if self.position.index == 0 else f"the rest of iteration {self.first}"
        else:
            what = f"iterations {self.first} to {self.last}"
        return f"{what} ({self.events:,} event{'s' if self.events != 1 else ''}) not recorded: {self.reason}"


@dataclass(frozen=True, slots=True)
class Phase:
    """From event number `event` on, this much was recorded."""

    event: int
    iteration: int
    capture: str
    """`exact`, `sampled`, `stats` or `nothing`."""
    every: int
    """Of so many iterations one is recorded, in bursts where the room decided it."""
    reason: str


@dataclass(frozen=True)
class Effect:
    """Everything an event changed. Events that change the same things share one."""

    id: int
    changes: tuple[Change, ...]

    @cached_property
    def final(self) -> dict[tuple[int, str], Change]:
        """The last change of each (parameter id, kind)."""
        return {(change.parameter, change.kind): change for change in self.changes}


@dataclass(frozen=True)
class Event:
    """One thing the loop did. `seq` counts all events of the trace from 0."""

    seq: int
    kind: str
    position: Position
    time: float
    """Seconds since the recording began, when the event ended."""
    duration: float
    """Seconds the call took, recording included."""
    depth: int
    """How many recorded calls enclose this one: 1 inside a step's closure."""
    thread: str
    site: Site | None
    """The line of the user's program; for what was noticed by hand, the line it was noticed at."""
    stack: tuple[Site, ...]
    """The whole chain of calls, innermost first, without torch's frames."""
    optimizer: Optimizer | None
    loss: float | None
    flags: Flag
    effect: int
    groups: int
    offset: int
    live_graphs: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def iteration(self) -> int:
        return self.position.iteration

    @property
    def index(self) -> int:
        return self.position.index

    @property
    def keyframe(self) -> bool:
        """Past the budget, but every value of this iteration is whole."""
        return bool(self.flags & Flag.KEYFRAME)

    @property
    def failed(self) -> bool:
        """The call raised."""
        return bool(self.flags & Flag.FAILED)

    @property
    def skipped(self) -> bool:
        """A step that a GradScaler left out because of non-finite gradients."""
        return bool(self.flags & Flag.SKIPPED)

    @property
    def by_hand(self) -> bool:
        """No call made this; it was noticed in the gradients or parameters at the next event."""
        return bool(self.flags & Flag.BY_HAND)
