"""Tensors on a device: what is known of them without reading them, and copies that nobody waits for.

A read waits until the device has done all it was told, and the training with it. So between the events that write to
a tensor it counts as unchanged while it is the same tensor, at the same place, and torch has counted no write to it;
and what has to be read is put together on the device, in the order of the training's own work, and fetched into pinned
memory on a second stream, while the training goes on.
"""

from __future__ import annotations

from typing import Any

import torch

_lanes: dict[torch.device, Lane | None] = {}


def is_remote(tensor: torch.Tensor) -> bool:
    """Whether reading it waits for a device."""
    return not tensor.is_cpu and not tensor.is_meta


def facts_of(tensor: torch.Tensor) -> Any:
    """What changes when the tensor is written to, as far as can be seen without reading it; None if nothing does."""
    try:
        if tensor.is_inference():  # torch counts no writes to it
            return None
        return (tensor._version, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    except RuntimeError:  # it has no memory of its own: sparse, say
        return None


def lane_of(device: torch.device) -> Lane | None:
    """The way to fetch from a device; None for one without streams, or where no memory can be pinned for it."""
    try:
        return _lanes[device]
    except KeyError:
        lane = _lanes[device] = _open(device)
        return lane


def _open(device: torch.device) -> Lane | None:
    try:
        lane = Lane(device)
        torch.empty(1, dtype=torch.uint8, device="cpu", pin_memory=True)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return None
    return lane


class Lane:
    """A second stream of a device, beside the one that the training is on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = torch.get_device_module(device)
        self._stream = self._module.Stream(device)

    def fetch(self, sources: list[torch.Tensor], memory: torch.Tensor) -> Any:
        """Begin to copy flat tensors of bytes, one after the other, into pinned memory, as they are at this point of
        the current stream. The event that says when it is done.

        They are put together on the device first: whatever is written to them from now on comes too late to be seen,
        and need not wait.
        """
        together = torch.cat(sources) if len(sources) > 1 else sources[0].clone()
        self._stream.wait_stream(self._module.current_stream(self._device))
        with self._module.stream(self._stream):
            memory.copy_(together, non_blocking=True)
            done = self._stream.record_event()
        together.record_stream(self._stream)  # its memory is not given to others until then
        return done

    def mark(self) -> Any:
        """The event that says when all has been done that the current stream was told so far."""
        return self._module.current_stream(self._device).record_event()

    def read(self, tensor: torch.Tensor, ready: Any) -> Any:
        """The number in a tensor of one element, once an event has come. Waits for it, on this thread alone."""
        with self._module.stream(self._stream):
            self._stream.wait_event(ready)
            return tensor.item()


class Number:
    """The number in a tensor of one element on a device as it is now, to be read by the writer."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor.detach().clone()
        self._lane = lane_of(tensor.device)
        self._ready = None if self._lane is None else self._lane.mark()

    def item(self) -> Any:
        """The number. Waits for the device."""
        with torch.no_grad():
            return self._tensor.item() if self._lane is None else self._lane.read(self._tensor, self._ready)

    def __float__(self) -> float:
        return float(self.item())
