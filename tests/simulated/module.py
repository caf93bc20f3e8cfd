"""What `torch.get_device_module("simulated")` returns: the names of `torch.cuda`, with its semantics.

There is one device, and it draws its random numbers from the CPU's generator.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Stream = torch.Stream
Event = torch.Event

_library: ctypes.CDLL


def load(path: Path) -> None:
    """Take hold of the library, which is loaded already, and let no copy be under way when the process ends."""
    global _library
    _library = ctypes.CDLL(str(path))
    _library.simulated_waits.restype = ctypes.c_int64
    _library.simulated_set_delay.argtypes = [ctypes.c_double]
    atexit.register(_library.simulated_drain)


# ------------------------------------------------------------------------------------------------ the simulation's own


def waits() -> int:
    """How many times this thread has waited for the device so far."""
    return int(_library.simulated_waits())


def set_delay(seconds: float) -> None:
    """Carry out every copy that is queued on a stream only after so long a time."""
    _library.simulated_set_delay(seconds)


# ------------------------------------------------------------------------------------------------------------- streams


def current_stream(device: Any = None) -> torch.Stream:
    return torch.accelerator.current_stream()


def default_stream(device: Any = None) -> torch.Stream:
    return torch.Stream(stream_id=0, device_index=0, device_type=current_stream().device_type)


def set_stream(stream: torch.Stream) -> None:
    torch.accelerator.set_stream(stream)


@contextlib.contextmanager
def stream(stream: torch.Stream | None) -> Iterator[None]:
    """Queue on this stream inside the block; None changes nothing."""
    before = current_stream()
    set_stream(stream or before)
    try:
        yield
    finally:
        set_stream(before)


def synchronize(device: Any = None) -> None:
    torch.accelerator.synchronize()


# ------------------------------------------------------------------------------------------------------------- devices


class device(contextlib.nullcontext[None]):
    """The one device there is, as the current one."""

    def __init__(self, device: Any) -> None:
        super().__init__()


def is_available() -> bool:
    return True


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


def set_device(device: Any) -> None:
    pass


def init() -> None:
    pass


def is_initialized() -> bool:
    return True


_initialized = True  # torch.utils.checkpoint asks for it by this name


def is_bf16_supported() -> bool:
    return True


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.float16, torch.bfloat16]


# ------------------------------------------------------------------------------------------------------ random numbers


def _is_in_bad_fork() -> bool:
    return False


def manual_seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    manual_seed(seed)


def get_rng_state(device: Any = None) -> torch.Tensor:
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, device: Any = None) -> None:
    torch.set_rng_state(state)
