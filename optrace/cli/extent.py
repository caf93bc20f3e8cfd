"""How much of a run its trace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optrace.cli.text import count

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


def unrecorded(trace: Trace) -> int:
    """Iterations of which nothing was recorded."""
    return len(trace.iterations) - len(_recorded(trace)) if len(trace.gap_numbers) else 0


def iterations(trace: Trace) -> str:
    """`300 iterations`, or `6 of 300 iterations`."""
    missing, all_of_them = unrecorded(trace), count(len(trace.iterations), "iteration")
    return f"{len(trace.iterations) - missing:,} of {all_of_them}" if missing else all_of_them


def within(trace: Trace) -> str:
    """What a verdict on the trace is about: ` in the 6 of 300 iterations recorded`; nothing if all were."""
    if not unrecorded(trace):
        return ""
    import numpy as np

    recorded = _recorded(trace)
    text = f" in the {iterations(trace)} recorded"
    if len(recorded) > 1 and np.diff(recorded).min() > 1:
        text += ", no two of them in a row"
    return text


def _recorded(trace: Trace) -> Any:
    """Numbers of the iterations of which something was recorded, ascending."""
    import numpy as np

    from optrace.trace.format import KIND_CODES

    kinds = trace.column("kind")
    return np.unique(trace.column("iteration")[kinds != kinds.dtype.type(KIND_CODES["gap"])])
