"""Torch's compiler: what is compiled is the user's program, as if nothing were recorded.

Calls that torch never compiles (backward, its own optimizers' steps, their zero_grad) run between the
compiled parts and are recorded like any other. What it can compile (clipping, `model.zero_grad()`,
the step of an optimizer that is not torch's) is compiled as it stands, without a trace of the wrapper:
its effects are noticed at the next event. The recorder's own functions are never compiled.

This file alone may be traced by the compiler, so everything here that runs while it traces is plain.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.hidden import TRANSPARENT, WRAPPERS, hidden
from optrace.recording.importing import AfterImport
from optrace.recording.patches import Patches

_is_compiling = torch.compiler.is_compiling  # true, for good, in what is compiled
_RULES = "torch._dynamo.trace_rules"


@hidden(TRANSPARENT)
class Compiled:
    """Stands between torch's compiler and the wrappers. `say` tells the user, once, what cannot be seen."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.stepped = False
        """A compiled step ran since this was last set to False."""
        self.replayed = False
        """The same for a CUDA graph."""
        self._said = False

        def missed(call: str) -> None:
            if not self._said:
                say(f"inside compiled code, {call} and the like are seen by what they did, at the next event")
            self._said = True

        missed._dynamo_marked_constant = True  # type: ignore[attr-defined]  # called by the compiler itself, at once
        self._missed = missed

    def transparent(self, original: Any, wrapper: Any) -> Any:
        """The wrapper; where the call is compiled, the original and nothing else."""
        missed, name = self._missed, f"{original.__name__}()"

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _is_compiling():
                missed(name)
                return original(*args, **kwargs)
            return wrapper(*args, **kwargs)

        return call

    def hook(self, hook: Any) -> Any:
        """A hook on every step; where a step is compiled, it only notes that there was one."""
        missed = self._missed

        def around_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if _is_compiling() and compilable(optimizer):
                missed("step()")
                self.stepped = True
            else:
                hook(optimizer, args, kwargs)

        return around_step


def compilable(optimizer: Optimizer) -> bool:
    """Whether torch can compile its step; it never does its own optimizers' as a part of something larger."""
    return not type(optimizer).step.__module__.startswith("torch.optim.")


def keep_out(patches: Patches) -> None:
    """Tell torch's compiler, as soon as it is imported, to leave the recorder's own functions alone."""
    own = Path(__file__)
    files = [WRAPPERS, *(str(file) for file in own.parent.rglob("*.py") if file != own)]

    def tell() -> None:
        rules: Any = sys.modules.get(_RULES)
        if hasattr(rules, "SKIP_DIRS") and hasattr(rules, "_recompile_re"):
            rules.SKIP_DIRS.extend(files)
            rules._recompile_re()
            patches.on_undo(lambda: _take_back(rules, files))

    waiting = AfterImport(_RULES, tell)
    waiting.install()
    patches.on_undo(waiting.remove)


def _take_back(rules: Any, files: list[str]) -> None:
    rules.SKIP_DIRS[:] = [entry for entry in rules.SKIP_DIRS if entry not in files]
    rules._recompile_re()
