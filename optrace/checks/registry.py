"""All rules, found by looking into `optrace.checks.rules`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from optrace.checks import rules as _package
from optrace.checks.rule import Rule
from optrace.errors import LookupFailed, nearest


@cache
def rules() -> tuple[type[Rule], ...]:
    """Every rule, by code."""
    found: dict[str, type[Rule]] = {}
    for module in pkgutil.iter_modules(_package.__path__):
        loaded = import_module(f"{_package.__name__}.{module.name}")
        for value in vars(loaded).values():
            if isinstance(value, type) and issubclass(value, Rule) and "code" in vars(value):
                found[value.code] = value
    return tuple(found[code] for code in sorted(found))


def rule(code: str) -> type[Rule]:
    """A rule by its code (`OT101`) or name (`missing-zero-grad`). Raises `LookupFailed` naming the nearest."""
    wanted = code.strip()
    for known in rules():
        if wanted.upper() == known.code or wanted.lower() == known.name:
            return known
    names = [text for known in rules() for text in (known.code, known.name)]
    raise LookupFailed(f"there is no rule {wanted!r}{nearest(wanted, names)}")


def codes(wanted: Iterable[str]) -> frozenset[str]:
    """Codes of rules given by code, by name, or by the beginning of a code (`OT1`)."""
    found: set[str] = set()
    for text in wanted:
        family = [known.code for known in rules() if known.code.startswith(text.strip().upper())]
        if text.strip() and family:
            found.update(family)
        else:
            found.add(rule(text).code)
    return frozenset(found)
