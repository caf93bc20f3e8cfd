"""What the user asks to be recorded: how much of each value, of which parameters, in which iterations.

Imports neither torch nor NumPy: `optrace run` looks at its options before the script runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from optrace.errors import OptraceError, nearest
from optrace.recording.size import DEFAULT_BUDGET, format_size, parse_size

CAPTURES = ("auto", "exact", "sampled", "stats")
LEAST_BUDGET = 1_000_000
"""Less than this, and the index alone would pass it."""
FOREVER = sys.maxsize


@dataclass(frozen=True)
class Options:
    """Checked options. Iterations are counted from 0."""

    budget: int = DEFAULT_BUDGET
    """Bytes that the whole trace may take."""
    capture: str = "auto"
    """`exact`, `sampled`, `stats`; `auto` is exact until half the budget, then sampled."""
    every: int = 1
    """One iteration in so many is recorded: 0, `every`, 2 × `every`, …"""
    first: int = 0
    """The first iteration that is recorded."""
    until: int = FOREVER
    """The iteration before which recording ends."""
    include: tuple[str, ...] = ()
    """Patterns of parameter names whose values are kept; none for all."""
    exclude: tuple[str, ...] = ()
    """Patterns of names, among these, whose values are not kept."""
    last: int | None = None
    """Only so many of the last iterations are kept."""
    ignore: tuple[str, ...] = ()
    """Codes of findings that do not end a recording of the last iterations."""

    def wants(self, iteration: int) -> bool:
        """Whether an iteration is one of those asked for."""
        return self.first <= iteration < self.until and (iteration - self.first) % self.every == 0

    @property
    def windowed(self) -> bool:
        """Whether there are iterations that are not asked for."""
        return self.every > 1 or self.first > 0 or self.until < FOREVER

    @property
    def why(self) -> str:
        """What was asked for, in words."""
        parts = [f"the last {self.last:,} iterations"] if self.last else []
        parts += [f"every {self.every} iterations"] if self.every > 1 else []
        if self.first:
            parts.append(f"from {self.first}")
        if self.until < FOREVER:
            parts.append(f"until {self.until}")
        return ", ".join(parts) or "everything"

    def keeps(self, name: str) -> bool:
        """Whether the values of a parameter are kept."""
        if self.include and not any(fnmatchcase(name, pattern) for pattern in self.include):
            return False
        return not any(fnmatchcase(name, pattern) for pattern in self.exclude)


def checked(
    budget: int | str | None = None,
    capture: str = "auto",
    params: str | Iterable[str] | None = None,
    every: int = 1,
    first: int = 0,
    until: int | None = None,
    last: int | None = None,
    ignore: Iterable[str] = (),
) -> Options:
    """Options from what the user wrote. Raises `OptraceError` with one line that says what is wrong."""
    size = DEFAULT_BUDGET if budget is None else parse_size(budget)
    if size < LEAST_BUDGET:
        raise OptraceError(f"a budget of {format_size(size)} is less than a trace needs; give it 1MB or more")
    if capture not in CAPTURES:
        raise OptraceError(f"{capture!r} is no way to capture values{nearest(str(capture), CAPTURES, len(CAPTURES))}")
    every, first = _count("every", every, 1), _count("from", first, 0)
    end = FOREVER if until is None else _count("until", until, 1)
    if end <= first:
        raise OptraceError(f"until {end} is not after from {first}: no iteration would be recorded")
    if last is not None:
        last = _count("last", last, 1)
        if capture not in ("auto", "exact"):
            raise OptraceError(f"last keeps every bit of the last iterations: it does not go with capture {capture}")
        if every > 1:
            raise OptraceError(f"last keeps all of the last iterations: it does not go with every {every}")
    include, exclude = _patterns(params)
    return Options(size, capture, every, first, end, include, exclude, last, tuple(ignore))


def whole(name: str, text: str | None) -> int | None:
    """An option's number. Raises `OptraceError`."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise OptraceError(f"{name} {text}: write an iteration as a whole number") from None


def _count(name: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptraceError(f"{name} {value}: write an iteration as a whole number of at least {least}")
    return value


def _patterns(params: str | Iterable[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns to include, and, marked by a leading `!`, to exclude."""
    given = [params] if isinstance(params, str) else list(params or ())
    if not all(isinstance(pattern, str) for pattern in given):
        raise OptraceError("params: write patterns of parameter names, like 'layers.*.weight'")
    found = [part.strip() for pattern in given for part in pattern.split(",")]
    if given and not any(part.strip("!") for part in found):
        raise OptraceError("params: an empty pattern; write one like 'layers.*.weight' or '!*.bias'")
    include = tuple(part for part in found if part and not part.startswith("!"))
    return include, tuple(part[1:] for part in found if part.startswith("!") and part[1:])
