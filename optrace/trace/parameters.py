"""The parameters of a trace, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from optrace.errors import DamagedError
from optrace.trace.model import Binding, Parameter, Placement


class Parameters(Mapping[str, Parameter]):
    """Parameters by their unique name, in the order they were first seen. Other names find them too."""

    def __init__(self) -> None:
        self._by_name: dict[str, Parameter] = {}
        self._by_id: dict[int, Parameter] = {}
        self._aliases: dict[str, Parameter] = {}

    def read(
        self,
        rows: Iterable[tuple[Any, ...]],
        bindings: Iterable[Binding],
        placements: Mapping[int, Placement],
        here: Callable[[Any], int],
    ) -> None:
        """Take in the index's rows; `here` turns an event's number in the whole run into the one in this trace."""
        self._by_name, self._by_id, self._aliases = {}, {}, {}  # a ring has let go of some since
        names: dict[int, list[str]] = {}
        for binding in bindings:
            names.setdefault(binding.parameter, []).append(binding.name)
        try:
            for number, name, shape, dtype, device, requires_grad, bare, first in rows:
                bound = names.get(number, [])
                # Where another parameter has the module's own name, the unique one stands for it.
                own = {n for n in bound if name.endswith(f".{n}") or name.startswith(f"{n}#")}
                all_names = (name, *dict.fromkeys(n for n in bound if n != name and n not in own))
                lengths = tuple(int(length) for length in shape.split(",") if length)
                if min(lengths, default=0) < 0 or math.prod(lengths) >> 62:
                    raise ValueError
                parameter = Parameter(
                    int(number),
                    str(name),
                    all_names,
                    lengths,
                    str(dtype),
                    str(device),
                    bool(requires_grad),
                    here(first),
                    bool(bare),
                    placements.get(number),
                )
                self._by_name[parameter.name] = self._by_id[parameter.id] = parameter
                for alias in all_names:
                    self._aliases.setdefault(alias, parameter)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError("the trace is damaged: its parameters cannot be read") from error

    def find(self, name: str) -> Parameter | None:
        """By its unique name, or by any other name it goes by."""
        return self._by_name.get(name) or self._aliases.get(name)

    def by_id(self, number: int) -> Parameter:
        try:
            return self._by_id[number]
        except KeyError:
            raise DamagedError(f"the trace is damaged: parameter {number} is missing") from None

    def __getitem__(self, name: str) -> Parameter:
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
