"""Wrappers that torch's warnings look past: a warning about the caller names the user's line, not ours.

`warnings.warn(…, stacklevel=2)` goes up from torch's function to whoever called it, which is the
wrapper. Python leaves out the frames of its own import machinery when it goes up, and knows them by
their file's name: it holds `importlib` and `_bootstrap`. The wrappers' code carries such a name.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import TypeVar

HIDDEN = "<optrace, left out of warnings as importlib._bootstrap is"
"""How the names of hidden files begin."""
WRAPPERS = f"{HIDDEN}>"
TRANSPARENT = f"{HIDDEN}, transparent to torch's compiler>"
C = TypeVar("C", bound=type)


def hidden(name: str) -> Callable[[C], C]:
    """Give the functions of a class, and the functions made in them, the hidden file `name`."""

    def hide(cls: C) -> C:
        for value in vars(cls).values():
            if isinstance(value, FunctionType):
                value.__code__ = _renamed(value.__code__, name)
        return cls

    return hide


def _renamed(code: CodeType, name: str) -> CodeType:
    inner = tuple(_renamed(const, name) if isinstance(const, CodeType) else const for const in code.co_consts)
    return code.replace(co_filename=name, co_consts=inner)
