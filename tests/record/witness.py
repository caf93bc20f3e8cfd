"""A witness that copies tensors itself, to be compared with what the trace says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

import optrace
from optrace.trace.reader import Trace

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(tensor: torch.Tensor) -> bytes:
    """The elements' bytes in row-major order, whatever the dtype and strides."""
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    dense = dense.resolve_conj().resolve_neg().cpu().contiguous()
    return bytes(dense.reshape(-1).view(torch.uint8).numpy().tobytes()) if dense.numel() else b""


def flat_state(state: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """State entries by the names the trace gives them; Python numbers as 0-dim tensors."""
    flat: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = f"{prefix}{key}"
        if isinstance(value, torch.Tensor):
            flat[name] = value
        elif isinstance(value, dict):
            flat |= flat_state(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            flat |= flat_state(dict(enumerate(value)), f"{name}.")
        elif isinstance(value, (bool, int, float)):
            dtype = {bool: torch.bool, int: torch.int64, float: torch.float64}[type(value)]
            flat[name] = torch.tensor(value, dtype=dtype, device="cpu")
    return flat


class Seen:
    """One value as it was: None where there was none."""

    def __init__(self, tensor: torch.Tensor | None) -> None:
        self.absent = tensor is None
        if tensor is not None:
            self.dtype = str(tensor.dtype).removeprefix("torch.")
            self.shape = tuple(tensor.shape)
            self.bytes = bits(tensor)

    def check(self, found: np.ndarray[Any, Any] | None, where: str) -> None:
        if self.absent:
            assert found is None, f"{where}: there was none, the trace says {found}"
            return
        assert found is not None, f"{where}: the trace has none"
        assert found.dtype.name == self.dtype, f"{where}: {found.dtype} instead of {self.dtype}"
        assert found.shape == self.shape, where
        assert np.ascontiguousarray(found).tobytes() == self.bytes, f"{where}: wrong bytes: {found}"


class Witness:
    """Copies every value after every call; `check` compares all of them with the trace.

    `names` maps what the trace calls a parameter to the tensor.
    """

    def __init__(
        self,
        recording: optrace.record | None,
        names: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
        *optimizers: torch.optim.Optimizer,
    ) -> None:
        self._recording = recording
        self._names = dict(names)
        self._optimizers = optimizers
        self.seen: list[tuple[int, dict[tuple[str, str], Seen]]] = []

    def look(self, event: int | None = None) -> None:
        """Copy everything as it is after the last event."""
        if self._recording is None:
            return
        if event is None:
            event = self._recording.events - 1
        values: dict[tuple[str, str], Seen] = {}
        for name, tensor in self._names.items():
            values[name, "param"] = Seen(tensor)
            values[name, "grad"] = Seen(tensor.grad)
            for optimizer in self._optimizers:
                state = optimizer.state.get(tensor)
                for kind, value in flat_state(state or {}).items():
                    values[name, kind] = Seen(value)
        self.seen.append((event, values))

    def check(self, trace: Trace) -> None:
        assert self.seen
        for event, values in self.seen:
            for (name, kind), seen in values.items():
                found = trace.value(name, kind, at=event)
                seen.check(found, f"{name}.{kind} after event {event} ({trace.events[event].kind})")


def kinds(trace: Trace, *leave_out: str) -> list[str]:
    """The events' kinds in order."""
    return [event.kind for event in trace.events if event.kind not in leave_out]


def positions(trace: Trace) -> list[str]:
    return [str(event.position) for event in trace.events]


def iterations(trace: Trace) -> list[list[str]]:
    """The kinds of each iteration's events."""
    return [[event.kind for event in iteration.events] for iteration in trace.iterations]


def both_ways(path: Any, run: Callable[[optrace.record | None], Any]) -> tuple[Any, Any]:
    """What `run` gives without and with a recording, from the same random state."""
    torch.manual_seed(11)
    bare = run(None)
    bare_random = torch.random.get_rng_state()
    torch.manual_seed(11)
    with optrace.record(path) as recording:
        recorded = run(recording)
    assert recording.failure is None, recording.failure
    assert torch.equal(bare_random, torch.random.get_rng_state()), "the random state differs"
    return bare, recorded


def same(one: Any, other: Any, where: str = "result") -> None:
    """Bit for bit the same nested value."""
    assert type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert bits(one) == bits(other), f"{where}: {one} and {other}"
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{where}[{index}]")
    elif isinstance(one, float):
        assert one.hex() == other.hex(), where
    else:
        assert one == other, where
