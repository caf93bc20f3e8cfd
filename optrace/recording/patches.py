"""Putting wrappers into torch and taking every one of them out again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any


class Patches:
    """Replaced attributes, in order, to be put back in reverse."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._done: set[tuple[int, str]] = set()
        self._functions: list[tuple[Any, Any]] = []  # each with its wrapper

    def method(self, owner: type, name: str, wrap: Callable[[Any], Any]) -> None:
        """Wrap a class's own attribute; classes that only inherit it are left alone."""
        original = vars(owner).get(name)
        if original is None or (id(owner), name) in self._done:
            return
        wrapper = wrap(original)
        setattr(owner, name, wrapper)
        self._done.add((id(owner), name))

        def undo() -> None:
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, original)

        self._undo.append(undo)

    def lineage(self, owner: type, base: type, name: str, wrap: Callable[[Any], Any]) -> None:
        """Wrap a method in a class and in every class between it and `base`."""
        for cls in owner.__mro__:
            if issubclass(cls, base):
                self.method(cls, name, wrap)

    def function(self, original: Any, wrap: Callable[[Any], Any]) -> None:
        """Wrap a function, from `spread` on."""
        self._functions.append((original, wrap(original)))

    def spread(self) -> None:
        """Wrap the functions wherever a module holds them: `from … import name` made copies."""
        functions, self._functions = self._functions, []
        _replace(functions)
        # Wherever they are by then: modules are imported meanwhile.
        self._undo.append(lambda: _replace([(wrapper, original) for original, wrapper in functions]))

    def on_undo(self, action: Callable[[], None]) -> None:
        self._undo.append(action)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._done.clear()


def _replace(pairs: list[tuple[Any, Any]]) -> None:
    """Put the second of each pair wherever a module holds the first."""
    table = {id(old): new for old, new in pairs}
    for names in _namespaces():
        if not table.keys().isdisjoint(map(id, list(names.values()))):
            for name, value in list(names.items()):
                if id(value) in table:
                    names[name] = table[id(value)]


def _namespaces() -> Iterator[dict[str, Any]]:
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is dict and not str(names.get("__name__", "")).startswith("optrace."):
            yield names


def subclasses(cls: type) -> Iterator[type]:
    """The class and everything derived from it so far."""
    seen: set[type] = set()
    todo = [cls]
    while todo:
        found = todo.pop()
        if found not in seen:
            seen.add(found)
            yield found
            todo += type.__subclasses__(found)
