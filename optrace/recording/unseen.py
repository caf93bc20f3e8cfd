"""Reading tensors without the user's own torch modes seeing it.

A `TorchFunctionMode` or `TorchDispatchMode` of the user's (a FLOP counter, a logger) is handed every
operation and attribute access; what the recorder does is not part of their program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import _disable_current_modes

F = TypeVar("F", bound=Callable[..., Any])

_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack


def unseen(function: F) -> F:
    """A function of positional arguments alone, run with the modes that are active, if any, put aside."""

    @functools.wraps(function)
    def quietly(*args: Any) -> Any:
        if _function_modes() or _dispatch_modes():
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                return function(*args)
        return function(*args)

    return quietly  # type: ignore[return-value]


@unseen
def call_unseen(function: Callable[..., Any], *args: Any) -> Any:
    """Call the function, unseen."""
    return function(*args)
