"""Every error optrace raises on purpose.

    OptraceError
    ├── RecordingError      recording cannot start (already recording, the path is taken)
    ├── TraceError          a trace cannot be read (missing, damaged, of another format)
    │   ├── DamagedError    bytes of a trace do not match their checksum
    │   └── OutdatedError   what was asked for has been let go since the trace was opened
    └── LookupFailed        a position, parameter, value or rule that does not exist

The command line prints the message of any of them as one line and exits with 2.
"""

from __future__ import annotations

from collections.abc import Iterable


class OptraceError(Exception):
    """Base class; its message is one line that says what was wrong and what to do."""


class RecordingError(OptraceError):
    """Recording cannot start."""


class TraceError(OptraceError):
    """A trace cannot be read."""


class DamagedError(TraceError):
    """Stored bytes do not match their checksum."""


class OutdatedError(TraceError):
    """A running recording has let go of what was asked for; opened again, or refreshed, the trace is whole."""


class LookupFailed(OptraceError, LookupError):
    """Something asked for by name or position is not in the trace."""


def nearest(wanted: str, known: Iterable[str], limit: int = 3) -> str:
    """The end of an error message: the known names nearest to `wanted`, or ''."""
    names = list(known)
    import difflib  # here alone, where time does not matter

    close = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.4)
    if not close:
        lowered = wanted.lower()
        close = [name for name in names if lowered and lowered in name.lower()][:limit]
    if close:
        return f"; did you mean {' or '.join(repr(name) for name in close)}?"
    if names:
        shown = ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
        return f"; there are: {shown}"
    return ""
