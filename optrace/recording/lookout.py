"""Starting the live check beside a recording of the last iterations (`optrace.checks.live`)."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from optrace.trace.ring import ALL, FOUND, LOOK_NOW, SEEN

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Not with -m: that would put the working folder first, and a random.py or numpy.py there before the real ones.
_CODE = f"import sys; sys.path[0] = {_HERE!r}; from optrace.checks.live import main; main()"
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
_SHELL = "/bin/sh"


PATIENCE = 20.0
"""Seconds to wait at the end for its last look."""


class Lookout:
    """The process that looks for errors while this one trains. It ends with this one, however that does."""

    def __init__(self) -> None:
        self._pipe = self._reports = -1
        self._seen = 0
        self._found = False

    @property
    def seen(self) -> int:
        """How many events of the run it has looked at without finding an error; all there can be where nobody looks."""
        try:
            while self._reports >= 0:
                if not (reports := os.read(self._reports, SEEN.size * 512)):
                    os.close(self._reports)  # it has ended
                    self._reports = -1
                    break
                (seen,) = SEEN.unpack(reports[-SEEN.size :])
                self._found = seen == FOUND
                self._seen = self._seen if self._found else seen
        except BlockingIOError:
            return self._seen
        return self._seen if self._found else ALL

    def look_again(self, events: int) -> int:
        """Have it look at all these events now, and wait for that; how many of them it has `seen` then."""
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            if self._reports >= 0:
                os.write(self._pipe, LOOK_NOW)
            while self.seen < events and not self._found and (left := until - time.monotonic()) > 0:
                ready = select.poll()  # unlike select, for numbers above 1,023 as well
                ready.register(self._reports, select.POLLIN)
                ready.poll(left * 1000)
        return self.seen

    def post(self, folder: Path, ignored: Iterable[str]) -> str | None:
        """Start it; why it could not be, where it could not."""
        if not sys.executable or not os.path.exists(_SHELL):
            return "there is no python to start beside it" if not sys.executable else "there is no shell here"
        reading, self._pipe = os.pipe()
        self._reports, writing = os.pipe()
        os.set_blocking(self._reports, False)
        self._seen, self._found = 0, False
        arguments = [str(folder.absolute()), str(os.getpid()), str(reading), str(writing), ",".join(ignored)]
        try:
            # The shell leaves it behind and ends: it is no child of this process, whose own waiting for children
            # must never meet it.
            subprocess.run(
                [_SHELL, "-c", '"$@" &', "optrace", sys.executable, "-c", _CODE, *arguments],
                check=True,
                pass_fds=[reading, writing],
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
            os.close(writing)
        return None

    def dismiss(self) -> None:
        """The recording has ended."""
        for descriptor in (self._pipe, self._reports):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._pipe = self._reports = -1
