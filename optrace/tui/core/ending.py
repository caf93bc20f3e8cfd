"""How a recording ended, told at its last event."""

from __future__ import annotations

from optrace.trace.format import KEPT
from optrace.trace.reader import Trace
from optrace.tui.core.spans import Line, Span, clean


def how_it_ended(trace: Trace) -> list[Line]:
    """A sentence, where it did not end with the script in good order."""
    if kept := trace.meta.get(KEPT):
        words = f"Here the recording ended, to keep what it held: {clean(str(kept))}."
    elif failure := trace.meta.get("failure"):
        words = f"Here the recording ended: {clean(str(failure))}."
    elif raised := trace.meta.get("raised"):
        words = f"After this the script ended by {clean(str(raised))}."
    elif not trace.complete and trace.killed():
        words = "After this its process was killed."
    else:
        return []
    return [[Span(words, "finding-hint")]]
