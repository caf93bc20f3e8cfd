"""Noticing that torch was imported, without importing it: what a script sets up before must still count."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class AfterImport(MetaPathFinder):
    """Calls `action` once, as soon as the module `name` has been executed by whoever imports it.

    The real finders find the module and its own loader runs it; that loader's `exec_module` is
    covered for this one import, so that the module looks afterwards as it would have.
    """

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action

    def install(self) -> None:
        """Begin to wait. Calls `action` at once where the module is there already."""
        if self._name in sys.modules:
            self._action()
        else:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders say, with the loader covered."""
        if fullname != self._name:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
            if spec is not None:
                self._cover(spec.loader)
                return spec
        return None

    def _cover(self, loader: Any) -> None:
        original = getattr(loader, "exec_module", None)
        if original is None:
            return

        def exec_module(module: ModuleType) -> None:
            with contextlib.suppress(AttributeError):
                del loader.exec_module
            original(module)
            self._done()

        with contextlib.suppress(AttributeError):  # a loader that takes no attributes goes unseen
            loader.exec_module = exec_module

    def _done(self) -> None:
        if self in sys.meta_path:
            self.remove()
            self._action()
