"""Sizes as people write them: 500MB, 2GiB, 64k."""

from __future__ import annotations

import re

from optrace.errors import OptraceError

DEFAULT_BUDGET = 2 << 30
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([a-zA-Z]*)\s*")


def parse_size(text: int | str) -> int:
    """Bytes. kB, MB, GB count in thousands, KiB, MiB, GiB and bare k, M, G in 1024s. Raises `OptraceError`."""
    if isinstance(text, int):
        size = text
    else:
        match = _SIZE.fullmatch(text)
        if match is None or match[2].lower() not in _UNITS:
            raise OptraceError(f"{text!r} is not a size; write it like 500MB or 2GiB")
        size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size <= 0:
        raise OptraceError(f"a budget of {text} leaves no room for a trace; write it like 500MB")
    return size


def format_size(size: int) -> str:
    """Bytes for people: `1.5 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
