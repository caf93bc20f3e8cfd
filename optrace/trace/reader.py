"""Reading a trace: `optrace.load`. Imports NumPy, never torch or Textual."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optrace.errors import DamagedError, LookupFailed, TraceError, nearest
from optrace.trace.bytes import Events as EventBytes
from optrace.trace.bytes import Tensors
from optrace.trace.dtypes import decode, decode_sparse, densify, numpy_dtype
from optrace.trace.events import Events, Iterations
from optrace.trace.format import INDEX_FILE, KIND_CODES, SMALL, STATISTICS, Flag, Op, Storage
from optrace.trace.model import Binding, Change, Event, Gap, Model, Optimizer, Parameter, ParamGroup, Phase
from optrace.trace.parameters import Parameters
from optrace.trace.processes import MAIN, is_name, members
from optrace.trace.rows import MAX_ZEROS, Rows
from optrace.trace.writes import Writes

if TYPE_CHECKING:
    from optrace.checks.finding import Finding
    from optrace.ledger.account import Account
    from optrace.ledger.book import Ledger

    Array = np.ndarray[Any, Any]


_ABSENT = (Op.CLEAR, Op.GONE)


class Sample(NamedTuple):
    """What was kept of a value that was not kept whole."""

    indices: Array
    """Which elements (flat, row-major); none where only the statistics were kept."""
    values: Array
    """Those elements, in the tensor's own dtype."""
    statistics: dict[str, float]
    """norm, mean, min, max, zeros, nonfinite of all elements."""


def load(path: str | os.PathLike[str]) -> Trace:
    """Open a trace. Works while it is still being written. Raises `TraceError`.

    Of a folder that several processes recorded into it is the first one's trace; its `processes` are all of them.
    """
    folder = Path(path)
    places = members(folder)
    if not places:
        return Trace(folder)
    found: dict[str, Trace] = {}
    unreadable: dict[str, str] = {}
    for name, place in {MAIN: folder, **places}.items():
        try:
            found[name] = Trace(place)
        except TraceError as error:
            unreadable[name] = str(error)
    if len(found) > 1 and MAIN in found and not found[MAIN].events:
        found.pop(MAIN).close()  # it started the others and trained nothing
    if not (folder / INDEX_FILE).exists():
        unreadable.pop(MAIN, None)
    if not found:
        raise TraceError(next(iter(unreadable.values())))
    first = next(iter(found.values()))
    first.processes, first.unreadable = found, unreadable
    return first


class Trace(Rows):
    """A recorded run.

    `parameters` maps names to parameters, `optimizers` lists the optimizers, `events` is a lazy
    sequence of events, `iterations` groups them. `value` is any parameter, gradient or state entry
    at any position. A position is written `"3:1"` (iteration 3, its event 1), or is an event, a
    pair, or the number of an event counted from 0.

    `processes` are the traces of all processes that ran together, this one's among them, by name:
    `rank-0`, `rank-1`, … Of a run of one process it holds this trace alone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Path(path))
        try:
            self._event_bytes = EventBytes(self.path, self._index)
            self._tensors = Tensors(self.path, self._index)
            self.meta: dict[str, Any] = {}
            self.parameters = Parameters()
            self.optimizers: list[Optimizer] = []
            self.models: list[Model] = []
            self.bindings: list[Binding] = []
            self.threads: dict[int, str] = {}
            self.process = self.path.name if is_name(self.path.name) else MAIN
            self.processes: Mapping[str, Trace] = {self.process: self}
            self.unreadable: Mapping[str, str] = {}
            """Processes whose traces cannot be read, and why."""
            self.events = Events(self)
            self.iterations = Iterations(self)
            self._writes = Writes(self)
            self.refresh()
        except BaseException:
            self._index.close()
            raise

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Trace {self.path}: {len(self.events)} events, {len(self.parameters)} parameters>"

    def close(self) -> None:
        """Let go of the files."""
        self._index.close()
        self._event_bytes.close()
        self._tensors.close()
        for trace in self.processes.values():
            if trace is not self:
                trace.close()

    # What was recorded

    @property
    def records(self) -> Array:
        """All committed events as a structured array; `optrace.trace.format.RECORD_FIELDS` are its fields."""
        return self._event_bytes.records

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self._event_bytes)

    def column(self, name: str) -> Array:
        """One field of all events, contiguous and cached."""
        return self._event_bytes.column(name)

    def take(self, *names: str) -> None:
        """Read these columns in one pass, for whoever will ask for them."""
        self._event_bytes.take(*names)

    def let_go(self, first: int, stop: int) -> None:
        """Take the records of events that were read out of this process's memory, until they are read again."""
        self._event_bytes.let_go(first, stop)

    @property
    def complete(self) -> bool:
        """Whether the recording has ended in good order. False while it runs, or after it was killed."""
        return "ended" in self.meta

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """The text of each source file that the run's call sites lie in, by path."""
        return {str(file): str(text) for file, text in self._index.rows("SELECT file, text FROM source")}

    def ledger(self, parameter: str | Parameter, at: Any = None, element: tuple[int, ...] | None = None) -> Account:
        """What a parameter's gradient is made of just after the event at a position, and what became of
        every contribution before: an `optrace.ledger.account.Account`, which prints as one line.

        `element` makes that line about one element. Raises `LookupFailed`.
        """
        return self._ledger.account(self.parameter(parameter), self.seq(at), element)

    @cached_property
    def _ledger(self) -> Ledger:
        from optrace.ledger.book import Ledger

        return Ledger(self)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the loop, worst first: `optrace.check` of this trace."""
        from optrace.checks.check import check

        return tuple(check(self))

    @property
    def marks(self) -> list[Event]:
        """The user's own marks and logged numbers."""
        return [self.events[int(i)] for i in np.flatnonzero(self.column("kind") == KIND_CODES["mark"])]

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """What was not recorded, in order: iterations that were left out, or had no room."""
        return tuple(self.gap(int(number)) for number in self.gap_numbers)

    @cached_property
    def gap_numbers(self) -> Array:
        """Numbers of the gaps' events, ascending: int64."""
        return np.flatnonzero(self.column("kind") == KIND_CODES["gap"])

    @cached_property
    def phases(self) -> list[Phase]:
        """How much was recorded, and from which event on."""
        rows = self._index.rows("SELECT event, iteration, capture, every, reason FROM phase ORDER BY event")
        try:
            return [Phase(int(e), int(i), str(capture), int(every), str(why)) for e, i, capture, every, why in rows]
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.path} is damaged: its phases cannot be read") from error

    def gap(self, number: int) -> Gap:
        """What the gap whose event has this number stands for."""
        event = self.events[number]
        try:
            last, missed = int(event.detail["last"]), int(event.detail["events"])
            if not event.iteration - 1 <= last < 1 << 32 or missed < 0:
                raise ValueError
            return Gap(number, event.position, last, missed, str(event.detail["reason"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.path} is damaged: the gap at {event.position} cannot be read") from error

    def refresh(self) -> int:
        """Take in what was committed since: the number of new events. For traces still being written."""
        had = len(self._event_bytes)
        rows = self._index.rows
        count = self._event_bytes.refresh()
        if count == had and self.meta:
            self.meta |= self._read_meta()
            return 0
        self.meta = self._read_meta()
        self.__dict__.pop("sources", None)
        self.__dict__.pop("findings", None)
        self.__dict__.pop("_ledger", None)
        self.__dict__.pop("gaps", None)
        self.__dict__.pop("phases", None)
        self.__dict__.pop("gap_numbers", None)
        try:
            self._read_sites()
            self.bindings = [
                Binding(int(parameter), str(name), int(model), int(event))
                for parameter, name, model, event in rows(
                    "SELECT parameter, name, model, event FROM binding ORDER BY id"
                )
            ]
            self.parameters.read(rows("SELECT * FROM parameter ORDER BY id"), self.bindings, self._read_placements())
            self.models = [
                Model(int(i), str(cls), _text(variable), int(event), self._stack_site(stack))
                for i, cls, variable, event, stack in rows("SELECT * FROM model ORDER BY id")
            ]
            self.optimizers = [
                Optimizer(int(i), str(name), str(cls), _text(variable), int(event), self._stack_site(stack))
                for i, name, cls, variable, event, stack in rows("SELECT * FROM optimizer ORDER BY id")
            ]
            self.threads = {int(i): str(name) for i, name in rows("SELECT id, name FROM thread")}
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.path} is damaged: its models and optimizers cannot be read") from error
        return count - had

    def follow(self, poll: float = 0.05) -> Iterator[Event]:
        """Every event, from the first; then new ones as they come, until the recording ends or its process is gone."""
        done = 0
        while True:
            ended = not self._recording()
            self.refresh()
            while done < len(self.events):
                yield self.events[done]
                done += 1
            if ended:
                return
            time.sleep(poll)

    def _recording(self) -> bool:
        """Whether somebody is still writing, as far as can be told from here."""
        self.meta |= self._read_meta()
        if self.complete:
            return False
        if self.meta.get("host") != socket.gethostname():
            return True
        try:
            os.kill(int(self.meta.get("pid", 0)), 0)
        except (OSError, ValueError):
            return False
        return True

    # Positions

    def event(self, at: Any) -> Event:
        """The event at a position. Raises `LookupFailed` naming the nearest that exist."""
        return self.events[self.seq(at)]

    def seq(self, at: Any) -> int:
        """A position as the number of its event; None is the last event."""
        count = len(self.events)
        if count == 0:
            raise LookupFailed(f"{self.path} has no events")
        if at is None:
            return count - 1
        if isinstance(at, Event):
            return at.seq
        if isinstance(at, (int, np.integer)):
            if not -count <= at < count:
                raise LookupFailed(f"there is no event number {at}; the last is {count - 1}")
            return int(at) % count
        iteration, index = _parse_position(at)
        first, stop = self.iterations.bounds(iteration)
        if first == stop:
            raise LookupFailed(self._missing(iteration, first))
        column = self.column("index")
        place = first + int(np.searchsorted(column[first:stop], column.dtype.type(min(max(index, 0), 0xFFFFFFFF))))
        if index < 0 or place == stop or int(column[place]) != index:
            if self.column("kind")[stop - 1] == KIND_CODES["gap"]:
                raise LookupFailed(
                    f"{iteration}:{index} was not recorded; the gap at {self.events[stop - 1].position} says why"
                )
            last = int(column[stop - 1])
            raise LookupFailed(f"there is no event {iteration}:{index}; its iteration ends at {iteration}:{last}")
        return place

    def _missing(self, iteration: int, following: int) -> str:
        """Why an iteration has no events."""
        before = following - 1
        if before >= 0 and self.column("kind")[before] == KIND_CODES["gap"]:
            return f"iteration {iteration} was not recorded; the gap at {self.events[before].position} says why"
        return f"iteration {iteration} was not recorded"

    # What an event changed

    def effect(self, event: Event | int) -> tuple[Change, ...]:
        """Everything an event changed, in order."""
        number = event.effect if isinstance(event, Event) else int(self.column("effect")[event])
        return self.effect_by_id(number).changes if number >= 0 else ()

    def groups(self, event: Event | int) -> tuple[ParamGroup, ...]:
        """The optimizer's param groups as they were at a step (or load_state); () for other events."""
        number = event.groups if isinstance(event, Event) else int(self.column("groups")[event])
        return self.groups_by_id(number) if number >= 0 else ()

    # Values

    def parameter(self, name: str | Parameter) -> Parameter:
        """A parameter by any of its names. Raises `LookupFailed` with the nearest."""
        if isinstance(name, Parameter):
            return name
        found = self.parameters.find(name)
        if found is None:
            raise LookupFailed(f"there is no parameter {name!r}{nearest(name, self.parameters)}")
        return found

    def kinds(self, parameter: str | Parameter) -> list[str]:
        """Which values of a parameter were ever recorded: `param`, `grad`, then its state entries."""
        return self._writes.kinds(self.parameter(parameter).id)

    def value(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Array | None:
        """A value just after the event at a position (by default at the end), bit for bit as it was.

        `kind` is `param`, `grad` or the name of a state entry. Read-only, in the tensor's own
        dtype and shape; sparse gradients come dense. None where there was none. Raises
        `LookupFailed` for unknown names and for values that were only sampled (see `sample`).
        """
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self._decode(entry, *found)

    def before(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Array | None:
        """A value as the event's call found it: what `step` had as gradient, say."""
        entry = self.parameter(parameter)
        found = self._writes.before(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self._decode(entry, *found)

    def sparse(self, parameter: str | Parameter, kind: str = "grad", at: Any = None) -> tuple[Array, Array] | None:
        """A sparse value as it was: indices [dims, nnz] and values [nnz, …]; None where it was not sparse."""
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        if found is None or found[1].storage is not Storage.SPARSE:
            return None
        return decode_sparse(self._bytes(*found), found[1].dtype, found[1].shape)

    def exactness(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> str | None:
        """How much was kept of a value; None where there was none.

        `exact`: every bit. `keyframe`: every bit too, between positions where there is only a sample.
        `sampled`: statistics and some elements. `statistics`: these alone. `not kept`: nothing but
        what happened to it, for want of room, or because it was left out.
        """
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        return None if found is None else self.exactness_of(*found)

    def exactness_of(self, seq: int, change: Change) -> str | None:
        """The same for what one change at event `seq` stored."""
        if change.op in _ABSENT:
            return None
        if change.op is Op.LOST or change.storage is Storage.DROPPED:
            return "not kept"
        if change.storage is Storage.SAMPLE:
            return "sampled" if change.nbytes > len(STATISTICS) * 8 else "statistics"
        if change.nbytes > SMALL and int(self.column("flags")[seq]) & Flag.KEYFRAME:
            return "keyframe"
        return "exact"

    def sample(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> Sample | None:
        """What was kept of a value that was not kept whole; None where it is exact, absent or not kept."""
        entry = self.parameter(parameter)
        found = self._writes.last(entry.id, self._kind(entry, kind), self.seq(at))
        if found is None or found[1].storage is not Storage.SAMPLE:
            return None
        change = found[1]
        data = self._bytes(*found)
        numel = math.prod(change.shape)
        rows = self._index.rows("SELECT indices FROM sample WHERE parameter = ? AND numel = ?", (entry.id, numel))
        head = len(STATISTICS) * 8
        try:
            numbers = np.frombuffer(data[:head], "<f8")
            values = np.frombuffer(data[head:], numpy_dtype(change.dtype))
            indices = np.frombuffer(rows[0][0] if len(values) else b"", "<i8")
        except (ValueError, IndexError, TypeError) as error:
            raise DamagedError(f"{self.path} is damaged: a sample cannot be read") from error
        return Sample(indices, values, dict(zip(STATISTICS, map(float, numbers), strict=True)))

    def writes(self, parameter: str | Parameter, kind: str = "param") -> Array:
        """Numbers of the events that wrote a value, ascending."""
        entry = self.parameter(parameter)
        return self._writes.all(entry.id, self._kind(entry, kind))

    def last_write(self, parameter: str | Parameter, kind: str = "param", at: Any = None) -> tuple[int, Change] | None:
        """The event that last wrote a value at or before a position, and what it did; None where none has."""
        return self._writes.last(self.parameter(parameter).id, kind, self.seq(at))

    def written(self, at: Any) -> dict[tuple[int, str], tuple[int, Change]]:
        """For every (parameter id, kind): the event that last wrote it at or before a position, and what it did."""
        return self._writes.snapshot(self.seq(at))

    def statistics(
        self,
        parameter: str | Parameter,
        kind: str = "param",
        statistic: str = "norm",
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[Array, Array]:
        """A statistic of a value over the run: event numbers that wrote it, and the statistic after each.

        `statistic` is one of norm, mean, min, max, zeros, nonfinite; float64, exact values' own are
        computed here in float64. nan where the value was absent or not kept.
        """
        from optrace.trace.statistics import over_run

        if statistic not in STATISTICS:
            raise LookupFailed(f"there is no statistic {statistic!r}{nearest(statistic, STATISTICS)}")
        numbers = self.writes(parameter, kind)
        stop = len(self.events) if stop is None else stop
        numbers = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, stop)]
        return numbers, over_run(self, self.parameter(parameter).id, kind, statistic, numbers)

    # Inside

    def _kind(self, entry: Parameter, kind: str) -> str:
        if kind not in ("param", "grad") and kind not in (known := self._writes.kinds(entry.id)):
            raise LookupFailed(f"{entry.name} has no value {kind!r}{nearest(kind, known)}")
        return kind

    def bytes_of(self, seq: int, change: Change) -> bytes:
        """The stored bytes of one change, checked against their checksum."""
        return self._tensors.read(int(self.column("offset")[seq]) + change.offset, change.nbytes)

    _bytes = bytes_of

    def _decode(self, entry: Parameter, seq: int, change: Change) -> Array | None:
        if change.op in _ABSENT:
            return None
        if change.storage is Storage.ZEROS:
            dtype = np.dtype(np.complex64) if change.dtype == "complex32" else numpy_dtype(change.dtype)
            if math.prod(change.shape) * dtype.itemsize > MAX_ZEROS:
                raise DamagedError(f"{self.path} is damaged: a value of shape {change.shape}")
            return np.broadcast_to(np.zeros((), dtype), change.shape)
        if change.storage is Storage.FULL:
            return decode(self._bytes(seq, change), change.dtype, change.shape)
        if change.storage is Storage.SPARSE:
            try:
                return densify(*decode_sparse(self._bytes(seq, change), change.dtype, change.shape), change.shape)
            except MemoryError as error:
                raise LookupFailed(f"{entry.name} is too large to be made dense; sparse() has it as it was") from error
        position = self.events[seq].position
        if change.op is Op.LOST:
            raise LookupFailed(f"{entry.name} is not known at {position}: {self.gap(seq)}")
        if change.storage is Storage.SAMPLE:
            raise LookupFailed(f"{entry.name} was not kept whole at {position}; sample() has what was kept")
        raise LookupFailed(f"{entry.name} was not kept at {position}: no room was left, or it was not chosen")

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _parse_position(at: Any) -> tuple[int, int]:
    try:
        if isinstance(at, str):
            iteration, _, index = at.strip().partition(":")
            return int(iteration), int(index or 0)
        iteration, index = at
        return int(iteration), int(index)
    except (TypeError, ValueError):
        raise LookupFailed(f"{at!r} is not a position; write it like 3:1 (iteration:event)") from None


__all__ = ["Flag", "Sample", "Trace", "load"]
