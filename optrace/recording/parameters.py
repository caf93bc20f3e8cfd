"""The parameters of the run, each with a number and a name of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from optrace.recording.entries import Tracked
from optrace.recording.placements import local_of, of_dtensor
from optrace.trace.ring import Needed
from optrace.trace.writer import TraceWriter


class Parameters:
    """Finds parameters by their tensors, and takes in new ones."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self.tracked: list[Tracked] = []
        self.count = 0
        """How many parameters there have been."""
        self.names: dict[str, int] = {}
        """The names given out, and to which parameter."""
        self.next_event: Callable[[], int] = lambda: 0
        self.on_track: Callable[[Tracked], None] = lambda tracked: None
        self._numbers: dict[str, int] = {}  # by name, the highest that was put behind it
        self._by_id: dict[int, Tracked] = {}
        self._placed: dict[int, dict[str, Any]] = {}

    def of(self, tensor: torch.Tensor) -> Tracked | None:
        found = self._by_id.get(id(tensor))
        return found if found is not None and found.ref() is tensor else None

    def track(self, tensor: torch.Tensor, name: str, bare: bool) -> Tracked:
        """Take in a parameter. `bare`: no module owns it."""
        tracked = Tracked(self.count, name, tensor)
        self.count += 1
        self.tracked.append(tracked)
        self._by_id[id(tensor)] = tracked
        self.on_track(tracked)
        self._writer.row(
            "INSERT INTO parameter VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            tracked.id,
            name,
            ",".join(map(str, local_of(tensor).shape)),
            str(tensor.dtype).removeprefix("torch."),
            str(tensor.device),
            int(tensor.requires_grad),
            int(bare),
            self.next_event(),
        )
        self.note_placement(tracked, of_dtensor(tensor))
        return tracked

    def note_placement(self, tracked: Tracked, placement: dict[str, Any] | None) -> None:
        """How it is spread over several processes, if it is and that is new."""
        if placement is not None and self._placed.get(tracked.id) != placement:
            self._placed[tracked.id] = placement
            text = json.dumps(placement)
            self._writer.row("INSERT OR REPLACE INTO placement VALUES (?, ?)", tracked.id, text)

    def unique(self, name: str, short: str | None = None) -> str:
        """The name itself, or with `#2`, `#3`, … where it is taken."""
        name = name.encode("utf-8", "replace").decode("utf-8")
        if name in self.names:
            base = short if short is not None else name
            number = self._numbers.get(base, 1) + 1
            while (name := f"{base}#{number}") in self.names:
                number += 1
            self._numbers[base] = number
        self.names[name] = self.count
        return name

    def forget_dead(self) -> list[Tracked]:
        """Leave out those whose tensors are gone, and say which."""
        dead = [t for t in self.tracked if t.ref() is None]
        self.tracked = [t for t in self.tracked if t.ref() is not None]
        if dead:
            self._by_id = {key: t for key, t in self._by_id.items() if t.ref() is not None}
        for tracked in dead:
            self._placed.pop(tracked.id, None)
        return dead

    def forget_names(self, needed: Needed) -> None:
        """The trace holds no parameters but these any more. Only names with a number are many, and never asked for."""
        self.names = {name: number for name, number in self.names.items() if "#" not in name or number in needed}
        self._numbers = {name: number for name, number in self._numbers.items() if name in self.names}
