"""What the user puts on the timeline, copied at that moment into what JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_PLAIN = (bool, int, float, str, type(None))
_MAX_ELEMENTS = 64
_MAX_DEPTH = 8


def copied(value: Any, depth: int = 0) -> Any:
    """Numbers, texts, lists and mappings as they are now; small arrays as lists; anything else as its text.

    A single number on a device comes as a tensor of its own, to be read by the writer: training does not wait.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return _number(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): copied(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple)):
        return [copied(item, depth + 1) for item in value]
    if kind.__module__ == "numpy" and hasattr(value, "tolist") and getattr(value, "size", 0) <= _MAX_ELEMENTS:
        found = value.tolist()
        return found if kind.__name__ != "ndarray" and type(found) in _PLAIN else copied(found, depth + 1)
    try:
        return repr(value)
    except Exception:  # theirs: a mark must not end the recording
        return f"<{kind.__name__}>"


def _number(tensor: torch.Tensor) -> Any:
    with torch.no_grad():
        if (
            tensor.is_meta
            or tensor.layout is not torch.strided
            or tensor.numel() > _MAX_ELEMENTS
            or tensor.is_complex()
        ):
            return f"<tensor {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}>"
        if tensor.is_cpu or tensor.numel() != 1:
            return tensor.detach().tolist()
        return tensor.detach().clone()
