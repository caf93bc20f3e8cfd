"""Processes that a recorded one starts: each that trains gets a trace of its own, beside its parent's.

A child does nothing at first. Only when it makes an optimizer, or clears the gradients of one that it has
from its parent, does it begin to record; a worker that loads data never does. A forked child has its
parent's memory and hears of the recording that way. One that multiprocessing spawns is told in what
multiprocessing sends it: `arm` is called there before the program's own modules are imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from optrace.recording.importing import AfterImport

_SPAWN = "multiprocessing.spawn"
_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PATIENCE = 5.0  # seconds that a child which leaves by os._exit waits for its trace to be written

# Runs in a spawned child while it reads what its parent sent. Whatever goes wrong, the child goes on.
_TELL = """
try:
    import sys
    sys.path.append(here)
    try:
        from optrace.recording.children import Parent, arm
    finally:
        sys.path.remove(here)
    arm(Parent(**parent))
except Exception:
    pass
"""


@dataclass(frozen=True)
class Parent:
    """What a child must know of the recording it belongs to. Plain values only."""

    folder: str
    """Of the traces of all processes, absolute."""
    name: str
    """Of the parent's own trace."""
    launch: str
    """What tells this run's processes from those of another."""
    claimed: bool
    """The parent has made the folder its own."""
    overwrite: bool
    options: dict[str, Any]
    """The fields of its `Options`."""
    meta: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


class _Message:
    """Pickled by the parent, it is code that runs when the child unpickles it; what comes out is None."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_TELL, {"here": _HERE, "parent": asdict(self._parent)})


class Announcement:
    """While it stands, children that multiprocessing spawns are told of the recording."""

    def __init__(self, parent: Callable[[], Parent]) -> None:
        self._parent = parent
        self._original: Any = None
        self._wrapper: Any = None
        self._waiting = AfterImport(_SPAWN, self._wrap)

    def make(self) -> None:
        if self._wrapper is None and self._waiting not in sys.meta_path:
            self._waiting.install()

    def withdraw(self) -> None:
        if self._waiting in sys.meta_path:
            sys.meta_path.remove(self._waiting)
        spawn: Any = sys.modules.get(_SPAWN)
        if self._wrapper is not None and spawn.get_preparation_data is self._wrapper:
            spawn.get_preparation_data = self._original
        self._wrapper = None

    def _wrap(self) -> None:
        spawn: Any = sys.modules[_SPAWN]
        original = self._original = spawn.get_preparation_data

        def get_preparation_data(name: str) -> dict[str, Any]:
            data: dict[str, Any] = original(name)
            with contextlib.suppress(Exception):
                data["optrace"] = _Message(self._parent())
            return data

        self._wrapper = spawn.get_preparation_data = get_preparation_data


# In the child

_armed: _Armed | None = None
_inherited: list[Any] = []  # a parent's recording: its files are the parent's to close


def arm(parent: Parent, base: Any = None, recording: Any = None) -> None:
    """This process is a child: record it once it trains. `base` is the frame below which nothing is the user's."""
    global _armed
    if recording is not None:
        _inherited.append(recording)
    disarm()
    _armed = _Armed(parent, base, forked=recording is not None)
    _armed.wait()


def disarm() -> None:
    """It records already, or is not to."""
    global _armed
    if _armed is not None:
        _armed.give_up()
        _armed = None


class _Armed:
    """Waits for a child to train."""

    def __init__(self, parent: Parent, base: Any, forked: bool) -> None:
        self._parent = parent
        self._base = base
        self._forked = forked
        self._import = AfterImport("torch", self._watch)
        self._undo: list[Callable[[], None]] = []

    def wait(self) -> None:
        self._import.install()

    def give_up(self) -> None:
        if self._import in sys.meta_path:
            sys.meta_path.remove(self._import)
        while self._undo:
            self._undo.pop()()

    def _watch(self) -> None:
        from torch import nn
        from torch.optim import Optimizer

        for owner, name in ((Optimizer, "__init__"), (Optimizer, "zero_grad"), (nn.Module, "zero_grad")):
            self._cover(owner, name)

    def _cover(self, owner: type, name: str) -> None:
        original = vars(owner)[name]

        def first(target: Any, *args: Any, **kwargs: Any) -> Any:
            self._begin()
            return getattr(owner, name)(target, *args, **kwargs)  # by now the recorder's own, or torch's again

        first.__wrapped__ = original  # type: ignore[attr-defined]
        setattr(owner, name, first)

        def undo() -> None:
            if vars(owner).get(name) is first:
                setattr(owner, name, original)

        self._undo.append(undo)

    def _begin(self) -> None:
        """Never raises: whatever happens, the training goes on."""
        disarm()
        self.give_up()
        with contextlib.suppress(Exception):
            from optrace.recording.session import record

            recording = record.of_child(self._parent)
            recording.start_below(self._base)
            self._end_with_it(recording)

    def _end_with_it(self, recording: Any) -> None:
        """Children leave without running exit handlers; multiprocessing's run its own."""
        util: Any = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, recording.stop, exitpriority=-100)
        if self._forked:
            leave = os._exit

            def _exit(status: int) -> None:
                stopping = threading.Thread(target=recording.stop, daemon=True)
                stopping.start()
                stopping.join(_PATIENCE)
                leave(status)

            os._exit = _exit  # type: ignore[assignment]
