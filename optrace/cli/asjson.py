"""Events and values as JSON for programs.

Numbers that JSON lacks are written as the strings "NaN", "Infinity" and "-Infinity"; null means
that there is no value.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from optrace.trace.processes import MAIN

if TYPE_CHECKING:
    from optrace.trace.model import Event, Site
    from optrace.trace.reader import Trace


def dumps(value: Any, indent: int | None = None) -> str:
    """Valid JSON, whatever numbers are in it; ASCII, so that it is safe on any terminal and in any encoding."""
    return json.dumps(plain(value), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """Only what JSON has."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "items"):
        return plain(dict(value))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(value.item()) if hasattr(value, "item") else str(value)


def process_object(trace: Trace) -> dict[str, Any]:
    """`process`, where the trace is one of several that were recorded together."""
    return {} if trace.process == MAIN else {"process": trace.process}


def event_object(event: Event) -> dict[str, Any]:
    """An event without what it changed."""
    return {
        "position": str(event.position),
        "iteration": event.iteration,
        "index": event.index,
        "kind": event.kind,
        "depth": event.depth,
        "time": event.time,
        "duration": event.duration,
        "thread": event.thread,
        **site_object(event.site),
        "optimizer": None if event.optimizer is None else event.optimizer.name,
        "loss": event.loss,
        "live_graphs": event.live_graphs,
        "failed": event.failed,
        "skipped": event.skipped,
        "by_hand": event.by_hand,
        "detail": event.detail,
    }


def site_object(site: Site | None) -> dict[str, Any]:
    """`file`, `line`, `function`; all null where there is none."""
    if site is None:
        return {"file": None, "line": None, "function": None}
    return {"file": site.file, "line": site.line, "function": site.function}
