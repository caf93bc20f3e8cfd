"""The update rules, one optimizer family per module, found by the class's name.

A new rule is a new module here with a function under `@elementwise(…)` (it gets a `Sheet` for one
number) or `@whole(…)` (it gets the `StepInput` with whole tensors).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from optrace.arithmetic.rules.registry import RULES, ElementRule, Rule, WholeRule


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def find(class_name: str) -> Rule | None:
    """The rule of an optimizer class, None where there is none."""
    _load()
    return RULES.get(class_name)


def names() -> tuple[str, ...]:
    """Every optimizer class with a rule."""
    _load()
    return tuple(sorted(RULES))


__all__ = ["ElementRule", "Rule", "WholeRule", "find", "names"]
