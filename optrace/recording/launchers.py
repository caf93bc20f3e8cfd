"""`optrace run -m torch.distributed.run …`: what torchrun starts is recorded, each rank by itself.

torchrun starts every rank as a program of its own, so that it has to start them under the recorder:
`torchrun OPTIONS train.py` becomes `torchrun OPTIONS -m optrace run train.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath

from optrace.errors import RecordingError
from optrace.recording.program import Module, Program, program

_MODULE = "torch.distributed.run"


def launches_others(command: Sequence[str]) -> bool:
    """Whether what is to be run (`-m module …`, or `script …`) is torchrun."""
    if command[:1] == ["-m"]:
        return list(command[1:2]) == [_MODULE]
    return bool(command) and PurePath(command[0]).name in ("torchrun", "torchrun.exe")


class Ranks:
    """torchrun, told to start every rank under the recorder."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """`arguments` are torchrun's own. Raises `RecordingError` where it does not start a python script."""
        from torch.distributed.run import parse_args

        parsed = parse_args(list(arguments))  # type: ignore[no-untyped-call]
        sys.modules.pop(_MODULE, None)  # so that it runs as if nobody had imported it
        self._rest: list[str] = list(parsed.training_script_args)
        place = len(arguments) - len(self._rest) - 1
        self._script: str = parsed.training_script
        self._as_module: bool = parsed.module
        self._options = list(arguments[:place])
        if parsed.no_python or place < 0 or arguments[place] != self._script:
            raise RecordingError("what torchrun starts here is no python script, so it cannot be recorded")

    @property
    def name(self) -> str:
        """What the trace is called."""
        return (Module(self._script, []) if self._as_module else program(self._script, [])).name

    def program(self, options: Sequence[str]) -> Program:
        """torchrun, to start the script under `optrace run OPTIONS`."""
        mine = ["-m"] if not self._as_module else []  # optrace is a module, whatever the script is
        theirs = ["-m"] if self._as_module else []
        return Module(_MODULE, [*self._options, *mine, "optrace", "run", *options, *theirs, self._script, *self._rest])
