"""The rows of a trace's index that events refer to by number, read when somebody asks and then kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optrace.errors import DamagedError
from optrace.trace import facts
from optrace.trace.format import Op, Storage
from optrace.trace.index import Index
from optrace.trace.model import Change, Effect, Optimizer, ParamGroup, Placement, Site

MAX_ZEROS = 1 << 40
MAX_DIMENSIONS = 64  # NumPy's, and torch's
_DETAILS = 4096
_EARLIER = "same_graph_as"  # the detail that is the number of another event
_OPS = list(Op)
_STORAGES = list(Storage)


class Rows:
    """Effects, param groups, chains of calls and details, by number. Raises `DamagedError` for what cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = Index(path)
        self._sites: dict[int, Site] = {}
        self._stacks: dict[int, tuple[Site, tuple[Site, ...]]] = {}
        self._effects: dict[int, Effect] = {}
        self._groups: dict[int, tuple[ParamGroup, ...]] = {}
        self._member_sets: dict[int, tuple[int, ...]] = {}
        self._base = 0  # the number in the whole run of the event that is number 0 here

    def _here(self, event: Any) -> int:
        """The number here of an event numbered in the whole run; 0 for one that was let go."""
        return max(0, int(event) - self._base)

    def _detail(self, event: Any, value: str) -> tuple[int, dict[str, Any]]:
        """One row of details, with the numbers of events as they are here."""
        detail = facts.detail(value)
        if self._base and _EARLIER in detail:
            earlier = detail.pop(_EARLIER) - self._base
            if earlier > 0:
                detail[_EARLIER] = earlier
        return int(event) - self._base, detail

    def effect_by_id(self, number: int) -> Effect:
        """An effect by the number in an event's record."""
        known = self._effects.get(number)
        if known is None:
            rows = self._index.rows("SELECT entries FROM effect WHERE id = ?", (number,))
            if not rows:
                raise DamagedError(f"{self.path} is damaged: effect {number} is missing")
            known = self._effects[number] = Effect(number, _changes(rows[0][0]))
        return known

    def groups_by_id(self, number: int) -> tuple[ParamGroup, ...]:
        known = self._groups.get(number)
        if known is None:
            rows = self._index.rows("SELECT value FROM groups WHERE id = ?", (number,))
            try:
                known = tuple(
                    ParamGroup(self._members(int(group["members"])), facts.hyper(group["hyper"]))
                    for group in facts.parsed(rows[0][0])
                )
            except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
                raise DamagedError(f"{self.path} is damaged: param groups {number} cannot be read") from error
            self._groups[number] = known
        return known

    def _members(self, number: int) -> tuple[int, ...]:
        known = self._member_sets.get(number)
        if known is None:
            rows = self._index.rows("SELECT parameters FROM members WHERE id = ?", (number,))
            known = self._member_sets[number] = tuple(int(parameter) for parameter in json.loads(rows[0][0]))
        return known

    def all_groups(self, optimizer: Optimizer) -> list[int]:
        """Ids of every version of an optimizer's param groups, in order; the first is how it was first seen."""
        rows = self._index.rows("SELECT id FROM groups WHERE optimizer = ? ORDER BY id", (optimizer.id,))
        return [int(number) for (number,) in rows]

    def group_rows(self, beyond: int, limit: int) -> list[tuple[int, int, str]]:
        """Up to `limit` versions of param groups with ids above `beyond`: id, optimizer, and their JSON text."""
        query = "SELECT id, optimizer, value FROM groups WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._index.rows(query, (beyond, limit))
        try:
            return [(int(number), int(optimizer), str(text)) for number, optimizer, text in rows]
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.path} is damaged: its param groups cannot be read") from error

    def _read_meta(self) -> dict[str, Any]:
        try:
            return {
                str(key): facts.meta(str(key), text) for key, text in self._index.rows("SELECT key, value FROM meta")
            }
        except (TypeError, ValueError, RecursionError) as error:
            raise DamagedError(f"{self.path} is damaged: its description cannot be read") from error

    def _read_placements(self) -> dict[int, Placement]:
        if not self._index.rows("SELECT 1 FROM sqlite_master WHERE name = 'placement'"):
            return {}  # recorded before there were placements
        try:
            return {
                int(parameter): placement(json.loads(text))
                for parameter, text in self._index.rows("SELECT parameter, value FROM placement")
            }
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise DamagedError(f"{self.path} is damaged: its placements cannot be read") from error

    def _read_sites(self) -> None:
        rows = self._index.rows
        known = max(self._sites, default=-1)
        for number, file, line, function in rows("SELECT * FROM site WHERE id > ?", (known,)):
            self._sites[number] = Site(str(file), int(line), str(function))

    def stack(self, number: int) -> tuple[Site | None, tuple[Site, ...]]:
        """A chain of calls by its id: the user's line, and all lines, innermost first."""
        if number < 0:
            return None, ()
        known = self._stacks.get(number)
        if known is None:
            rows = self._index.rows("SELECT site, sites FROM stack WHERE id = ?", (number,))
            try:
                site, sites = rows[0]
                numbers = json.loads(sites)
                chain = tuple(self._sites[i] for i in numbers)
                if site not in self._sites:
                    return None, chain
                if site not in numbers:
                    raise LookupError
                known = self._stacks[number] = (self._sites[site], chain)
            except (LookupError, TypeError, ValueError, RecursionError) as error:
                raise DamagedError(f"{self.path} is damaged: call site {number} cannot be read") from error
        return known

    def _stack_site(self, number: Any) -> Site | None:
        return self.stack(int(number))[0]

    def details(self, first: int, last: int) -> dict[int, dict[str, Any]]:
        """The details of events `first` to `last`, by event number."""
        query = "SELECT event, value FROM detail WHERE event BETWEEN ? AND ?"
        rows = self._index.rows(query, (first + self._base, last + self._base))
        try:
            return dict(self._detail(event, value) for event, value in rows)
        except (TypeError, ValueError, RecursionError) as error:
            raise DamagedError(f"{self.path} is damaged: details cannot be read") from error

    def details_with(self, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Events whose details have a key, in order: their numbers and details. Reads no others' details."""
        query = "SELECT event, value FROM detail WHERE event > ? AND instr(value, ?) > 0 ORDER BY event LIMIT ?"
        beyond = -1
        while rows := self._index.rows(query, (beyond, json.dumps(key), _DETAILS)):
            try:
                found = [self._detail(event, value) for event, value in rows]
                beyond = int(rows[-1][0])
            except (TypeError, ValueError, RecursionError) as error:
                raise DamagedError(f"{self.path} is damaged: details cannot be read") from error
            yield from ((event, detail) for event, detail in found if key in detail and event >= 0)

    def effect_ids(self, beyond: int) -> list[int]:
        """Effects with ids greater than `beyond`, loaded."""
        found = []
        for number, entries in self._index.rows("SELECT id, entries FROM effect WHERE id > ? ORDER BY id", (beyond,)):
            if number not in self._effects:
                self._effects[number] = Effect(int(number), _changes(entries))
            found.append(int(number))
        return found


def placement(value: dict[str, Any]) -> Placement:
    """A placement from its JSON."""
    return Placement(
        kind=str(value["kind"]),
        by=str(value["by"]),
        ranks=tuple(int(rank) for rank in value["ranks"]),
        shape=tuple(int(length) for length in value.get("shape", ())),
        placements=tuple(str(place) for place in value.get("placements", ())),
        mesh=tuple(int(length) for length in value.get("mesh", ())),
    )


def _changes(entries: str) -> tuple[Change, ...]:
    shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}  # thousands of parameters have few
    changes = []
    try:
        for parameter, kind, optimizer, op, storage, before, dtype, shape, offset, nbytes in json.loads(entries):
            lengths = shapes.get(tuple(shape))
            if lengths is None:
                lengths = shapes[tuple(shape)] = _shape(shape)
            place, size = int(offset), int(nbytes)
            if place < 0 or size < 0:
                raise DamagedError("the trace is damaged: an effect holds a value that cannot be")
            code, kept = _OPS[op], _STORAGES[storage]
            change = Change(
                int(parameter), str(kind), code, kept, bool(before), str(dtype), lengths, place, size, int(optimizer)
            )
            changes.append(change)
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedError("the trace is damaged: an effect cannot be read") from error
    return tuple(changes)


def _shape(lengths: list[Any]) -> tuple[int, ...]:
    shape = tuple(int(length) for length in lengths)
    if len(shape) > MAX_DIMENSIONS:
        raise DamagedError("the trace is damaged: an effect holds a value that cannot be")
    if any(not 0 <= length < MAX_ZEROS for length in shape):
        raise DamagedError(f"the trace is damaged: an effect holds a value of shape {shape}")
    return shape
