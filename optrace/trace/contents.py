"""What a trace holds, taken in as it is written: events as columns, parameters, models, optimizers, gaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from optrace.errors import DamagedError, TraceError
from optrace.trace.bytes import Events as EventBytes
from optrace.trace.bytes import Tensors
from optrace.trace.events import Events, Iterations
from optrace.trace.format import BYTES_FILE, EVENTS_FILE, KIND_CODES, RING
from optrace.trace.model import Binding, Change, Event, Gap, Model, Optimizer, ParamGroup, Phase
from optrace.trace.parameters import Parameters
from optrace.trace.rows import Rows
from optrace.trace.writes import Writes

Array = np.ndarray[Any, Any]
_TRIES = 100
"""How often to look again for files that were let go between being named and being opened."""
_DERIVED = ("sources", "findings", "_ledger", "gaps", "phases", "gap_numbers")
"""What is worked out from the rest, once, until there is more."""


class Contents(Rows):
    """A trace's files and what is in them. `refresh` takes in what was written since."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.meta: dict[str, Any] = {}
        self.parameters = Parameters()
        self.optimizers: list[Optimizer] = []
        self.models: list[Model] = []
        self._optimizer_by_id: dict[int, Optimizer] = {}
        self._model_by_id: dict[int, Model] = {}
        self.bindings: list[Binding] = []
        self.threads: dict[int, str] = {}
        self.events = Events(self)
        self.iterations = Iterations(self)
        self._event_bytes: EventBytes
        self._tensors: Tensors
        self._opened = False
        self._ring: str | None = None
        try:
            self.refresh()
        except BaseException:
            self._close_files()
            self._index.close()
            raise

    def _close_files(self) -> None:
        if self._opened:
            self._event_bytes.close()
            self._tensors.close()

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
            return [
                Phase(self._here(event), int(i), str(capture), int(every), str(why))
                for event, i, capture, every, why in rows
            ]
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

    @property
    def base(self) -> int:
        """How many events of the run come before the one that is number 0 here: they were let go (`--last`)."""
        return self._base

    def optimizer_by_id(self, number: int) -> Optimizer:
        """An optimizer by the number in an event's record. Where iterations were let go, some have no optimizer."""
        try:
            return self._optimizer_by_id[number]
        except KeyError:
            raise DamagedError(f"{self.path} is damaged: optimizer {number} is missing") from None

    def model_by_id(self, number: int) -> Model:
        """A model by the number that bindings and details have for it."""
        try:
            return self._model_by_id[number]
        except KeyError:
            raise DamagedError(f"{self.path} is damaged: model {number} is missing") from None

    def effect(self, event: Event | int) -> tuple[Change, ...]:
        """Everything an event changed, in order."""
        number = event.effect if isinstance(event, Event) else int(self.column("effect")[event])
        return self.effect_by_id(number).changes if number >= 0 else ()

    def groups(self, event: Event | int) -> tuple[ParamGroup, ...]:
        """The optimizer's param groups as they were at a step (or load_state); () for other events."""
        number = event.groups if isinstance(event, Event) else int(self.column("groups")[event])
        return self.groups_by_id(number) if number >= 0 else ()

    def refresh(self) -> int:
        """Take in what was committed since: the number of new events. For traces still being written.

        Where a recording of the last iterations has let go of older ones meanwhile, events have other numbers
        afterwards; the number in the whole run, `base` and the number here, stays.
        """
        had = self._base + self.count if self._opened else 0
        for attempt in range(_TRIES):
            try:
                with self._index.snapshot():
                    self._take_in()
                return self._base + self.count - had
            except TraceError:  # files may be let go between being named and being opened
                with self._index.snapshot():
                    if attempt + 1 == _TRIES or self._read_ring() == self._ring:
                        raise
        raise AssertionError

    def _take_in(self) -> None:
        ring = self._read_ring()
        anew = not self._opened or ring != self._ring
        if anew:
            self._open_files(ring)
        had = 0 if anew else self.count
        count = self._event_bytes.refresh()
        if ring is not None:
            self._tensors.update()  # while the files are there
        if count == had and self.meta:
            self.meta |= self._read_meta()
            self.__dict__.pop("gaps", None)  # the last may have become longer
        else:
            self.meta = self._read_meta()
            for name in _DERIVED:
                self.__dict__.pop(name, None)
            self._read_rows()
        self._index.hold_to(None if self.complete else ring)

    def _open_files(self, ring: str | None) -> None:
        """Open the files that the index names now. What was read of others does not count any more."""
        self._close_files()
        self._opened = False
        self._ring = ring
        self._base, name = 0, EVENTS_FILE
        if ring is not None:
            try:
                facts = json.loads(ring)
                self._base, name = int(facts["base"]), str(facts["events"])
                if self._base < 0 or not BYTES_FILE.fullmatch(name) or name.startswith("tensors"):
                    raise ValueError
            except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
                raise DamagedError(f"{self.path} is damaged: what it says of its ring cannot be read") from error
        self._event_bytes = EventBytes(self.path, self._index, name)
        try:
            self._tensors = Tensors(self.path, self._index, several=ring is not None)
        except BaseException:
            self._event_bytes.close()
            raise
        self._opened = True
        self._effects.clear()
        self._groups.clear()
        self._writes = Writes(self)

    def _read_ring(self) -> str | None:
        """What `meta` says of the ring; None for an ordinary trace."""
        rows = self._index.rows("SELECT value FROM meta WHERE key = ?", (RING,))
        return str(rows[0][0]) if rows else None

    def _read_rows(self) -> None:
        rows, here = self._index.rows, self._here
        try:
            self._read_sites()
            self.bindings = [
                Binding(int(parameter), str(name), int(model), here(event))
                for parameter, name, model, event in rows(
                    "SELECT parameter, name, model, event FROM binding ORDER BY id"
                )
            ]
            self.parameters.read(
                rows("SELECT * FROM parameter ORDER BY id"), self.bindings, self._read_placements(), here
            )
            self.models = [
                Model(int(i), str(cls), _text(variable), here(event), self._stack_site(stack))
                for i, cls, variable, event, stack in rows("SELECT * FROM model ORDER BY id")
            ]
            self.optimizers = [
                Optimizer(int(i), str(name), str(cls), _text(variable), here(event), self._stack_site(stack))
                for i, name, cls, variable, event, stack in rows("SELECT * FROM optimizer ORDER BY id")
            ]
            self._model_by_id = {model.id: model for model in self.models}
            self._optimizer_by_id = {optimizer.id: optimizer for optimizer in self.optimizers}
            self.threads = {int(i): str(name) for i, name in rows("SELECT id, name FROM thread")}
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.path} is damaged: its models and optimizers cannot be read") from error


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
