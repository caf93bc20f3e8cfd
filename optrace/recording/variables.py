"""What the user calls an object: the variable, list item or attribute that holds it in their frames."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

_OPTIMIZED = 0x1  # CO_OPTIMIZED: the frame's locals are not a real dictionary
_MAX_ITEMS = 256
_CONTAINERS = (list, tuple, dict)


def find_variables(
    frame: FrameType | None,
    wanted: Iterable[object],
    is_ours: Callable[[CodeType], bool],
    is_library: Callable[[CodeType], bool],
) -> dict[int, str]:
    """Names for the wanted objects, by id: `x`, `weights[0]`, `self.model`.

    The innermost frame wins, but what a library calls them (`args[0]`) comes after all of the user's.
    """
    missing = {id(thing) for thing in wanted}
    found: dict[int, str] = {}
    libraries: list[FrameType] = []
    while frame is not None and missing:
        if is_library(frame.f_code):
            libraries.append(frame)
        elif not is_ours(frame.f_code):
            _search(frame, missing, found)
        frame = frame.f_back
    for frame in libraries:
        if missing:
            _search(frame, missing, found)
    return found


def _search(frame: FrameType, missing: set[int], found: dict[int, str]) -> None:
    variables = frame.f_locals
    for name, value in list(_names(variables)):
        if id(value) in missing:
            found[id(value)] = name
            missing.discard(id(value))
    # Up to 3.12 a function's f_locals is a snapshot that lives as long as its frame: left full, it
    # would keep the user's tensors alive.
    if sys.version_info < (3, 13) and frame.f_code.co_flags & _OPTIMIZED and sys.gettrace() is None:
        variables.clear()


def _names(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Plain variables first, then what they hold one level down."""
    own = [(name, value) for name, value in variables.items() if isinstance(name, str) and not name.startswith("_")]
    yield from own
    for name, value in own:
        kind = type(value)
        if kind is dict and len(value) <= _MAX_ITEMS:
            for key, item in value.items():
                if isinstance(key, (str, int)):
                    yield f"{name}[{key!r}]", item
        elif kind in _CONTAINERS and len(value) <= _MAX_ITEMS:
            for index, item in enumerate(value):
                yield f"{name}[{index}]", item
    for name, value in own:
        attributes = getattr(type(value), "__dict__", None) and _attributes(value)
        if attributes:
            for attribute, item in attributes.items():
                if isinstance(attribute, str) and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", item


def _attributes(value: Any) -> dict[str, Any] | None:
    """An ordinary instance's own attributes, read without running any code of its class."""
    if isinstance(value, type) or type(value).__module__ in ("builtins", "types"):
        return None
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return dict(found) if type(found) is dict and len(found) <= _MAX_ITEMS else None
