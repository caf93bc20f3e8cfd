"""Facts about the run and details of events as the index holds them: JSON, and of which types.

A value of another type was written by no recording. That is told where it is read, so that whoever uses it need not
look. What a program may give any value to (a limit, a learning rate, a mark) is not among them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from optrace.trace.format import KEPT

MOST_NESTED = 100
"""Lists and objects in one another: of more, recursion would not come to its end."""
_LARGEST = 1 << 63  # an int64 holds less; a float and SQLite can be given it
_DIGITS = re.compile("[0-9]{1,18}")
_Type = Callable[[Any], bool]


def parsed(text: str) -> Any:
    """JSON. Raises `ValueError` for what is none, or too deep."""
    if not isinstance(text, str):
        raise ValueError("no text")
    if text.count("[") + text.count("{") > MOST_NESTED and _depth(text) > MOST_NESTED:
        raise ValueError("nested too deep")
    return json.loads(text)


def meta(key: str, text: str) -> Any:
    """A fact about the run. Raises `ValueError` where it is none, or of a wrong type."""
    return _checked(_META, key, parsed(text))


def detail(text: str) -> dict[str, Any]:
    """The details of an event. Raises `ValueError` where they are none, or of a wrong type."""
    found = parsed(text)
    if not isinstance(found, dict):
        raise ValueError("no object")
    for key, value in found.items():
        _checked(_DETAIL, key, value)
    return found


def hyper(value: Any) -> dict[str, Any]:
    """A param group's hyperparameters: of any types, by name. Raises `ValueError` where they are none."""
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _checked(types: Mapping[str, _Type], key: str, value: Any) -> Any:
    is_right = types.get(key)
    if is_right is not None and not is_right(value):
        raise ValueError(f"{key} is of a wrong type")
    return value


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _number(value: Any) -> bool:
    return isinstance(value, float) or _whole(value)


def _time(value: Any) -> bool:
    return _number(value) and math.isfinite(value)


def _either(one: _Type) -> _Type:
    return lambda value: value is None or one(value)


def _list(of: _Type) -> _Type:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _object(of: _Type) -> _Type:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _of_models(of: _Type) -> _Type:
    """An object whose keys are models' numbers."""
    return lambda value: _object(of)(value) and all(_DIGITS.fullmatch(key) for key in value)


def _any(value: Any) -> bool:
    return True


def _slot(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _whole(value[0]) and _text(value[1])


def _group(value: Any) -> bool:
    return isinstance(value, dict) and _whole(value.get("rank"))


_META: dict[str, _Type] = {
    **dict.fromkeys(("cwd", "optrace", "torch", "python", "platform", KEPT), _text),
    **dict.fromkeys(("argv", "devices", "notes"), _list(_text)),
    **dict.fromkeys(("began", "ended"), _time),
    **dict.fromkeys(("failure", "raised"), _either(_text)),
    "process_group": _group,
}

_DETAIL: dict[str, _Type] = {
    **dict.fromkeys(("name", "scheduler", "class", "of", "reason"), _text),
    **dict.fromkeys(("norm_before", "norm_after", "scale", "scale_before", "scale_after"), _either(_number)),
    **dict.fromkeys(("id", "same_graph_as", "after_stack", "last", "events"), _whole),
    **dict.fromkeys(("lr_before", "lr_after"), _list(_any)),
    **dict.fromkeys(("settings", "values"), _object(_any)),
    "found_inf": _list(_either(_number)),
    "parameters": _list(_whole),
    "training": _of_models(lambda value: isinstance(value, bool)),
    "mode_sensitive": _of_models(_list(_text)),
    "aliases_gradient": _list(_slot),
}
