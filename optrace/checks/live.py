"""The live check: looks for errors in a recording of the last iterations while it runs, and has them kept.

A process of its own, of the lowest priority, so that neither NumPy nor any work comes into the training on its
account. It ends when the recorded process does.
"""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

from optrace.checks.check import check
from optrace.checks.finding import Finding
from optrace.errors import OptraceError
from optrace.trace.keeping import ask, asked, place_to_ask
from optrace.trace.reader import Trace
from optrace.trace.ring import FOUND, LOOK_NOW, SEEN

LEAST_REST = 1.0
"""Seconds between two checks, at the least."""
REST = 20
"""And as many times as long as the check took."""
GONE = b""


def main() -> None:
    """`folder pid life reports ignored-codes`: watch the trace until it ends, its process does, or an error is found.

    `life` is a pipe that the process holds open; into `reports` goes how many events of the run were looked at.
    It may ask through `life` for a last look at the whole.
    """
    folder, ignored = Path(sys.argv[1]), sys.argv[5]
    pid, life, reports = map(int, sys.argv[2:5])
    if hasattr(os, "nice"):
        os.nice(19)
    codes = [code for code in ignored.split(",") if code]
    rest, last = LEAST_REST, False
    while (told := _listen(pid, life, rest)) != GONE:
        began = time.monotonic()
        last = last or told == LOOK_NOW
        place = place_to_ask(folder)
        if asked(place) is not None and not last:
            continue  # it is about to end
        try:
            with Trace(folder) as trace:
                found = errors(trace, codes)
                os.write(reports, SEEN.pack(FOUND if found else trace.base + trace.count))
                if found:  # said first, for it must still be there when it is to be kept
                    if not last:
                        ask(place, in_words(found[0]))
                    return
                if last:
                    return
        except (OptraceError, OSError):
            pass  # it moves on while it is read, or has not begun; or the disk is full
        rest = max(LEAST_REST, REST * (time.monotonic() - began))


def errors(trace: Trace, ignored: list[str]) -> list[Finding]:
    """Findings of severity error, those first that follow from no other."""
    return [finding for finding in check(trace, ignore=ignored) if finding.severity == "error"]


def in_words(finding: Finding) -> str:
    """A finding as half a line: `OT101 missing-zero-grad at train.py:12`."""
    where = f" at {os.path.basename(finding.file)}:{finding.line}" if finding.file else ""
    return f"{finding.code} {finding.name}{where}"


def _listen(pid: int, life: int, rest: float) -> bytes | None:
    """Wait so long; `LOOK_NOW` as soon as the recorded process says so, `GONE` as soon as it has ended.

    It holds the other end of a pipe. A child that it forked may hold that too, so its number is looked at as well.
    """
    until, ready = time.monotonic() + rest, select.poll()
    ready.register(life, select.POLLIN)
    while (left := until - time.monotonic()) > 0:
        if ready.poll(min(left, 1.0) * 1000):
            return os.read(life, 1)
        try:
            os.kill(pid, 0)
        except OSError:
            return GONE
    return None


if __name__ == "__main__":
    main()
