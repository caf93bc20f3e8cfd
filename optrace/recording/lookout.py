"""Starting the live check beside a recording of the last iterations (`optrace.checks.live`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Not with -m: that would put the working folder first, and a random.py or numpy.py there before the real ones.
_CODE = f"import sys; sys.path[0] = {_HERE!r}; from optrace.checks.live import main; main()"
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
_SHELL = "/bin/sh"


class Lookout:
    """The process that looks for errors while this one trains. It ends with this one, however that does."""

    def __init__(self) -> None:
        self._pipe = -1

    def post(self, folder: Path, ignored: Iterable[str]) -> str | None:
        """Start it; why it could not be, where it could not."""
        if not sys.executable or not os.path.exists(_SHELL):
            return "there is no python to start beside it" if not sys.executable else "there is no shell here"
        reading, self._pipe = os.pipe()
        arguments = [str(folder.absolute()), str(os.getpid()), str(reading), ",".join(ignored)]
        try:
            # The shell leaves it behind and ends: it is no child of this process, whose own waiting for children
            # must never meet it.
            subprocess.run(
                [_SHELL, "-c", '"$@" &', "optrace", sys.executable, "-c", _CODE, *arguments],
                check=True,
                pass_fds=[reading],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ONE_THREAD},
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self.dismiss()
            return str(error)
        finally:
            os.close(reading)
        return None

    def dismiss(self) -> None:
        """The recording has ended."""
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = -1
