"""Reading all that a trace says, and all that can be concluded from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import optrace
from optrace.arithmetic import explain
from optrace.errors import LookupFailed, OptraceError, TraceError
from optrace.trace.reader import Trace

EXPLAINED = 5
"""Steps of a trace whose arithmetic is shown, spread over it."""
EVERY = 3
"""Of so many events the ledger is asked at one."""


def read_everything(path: Path) -> str:
    """A digest of all that a trace says, of every process in it. Only `OptraceError` may come out of it."""
    whole = hashlib.sha256()
    with optrace.load(path) as first:
        for said in first.unreadable.values():
            raise TraceError(said)
        whole.update(repr(list(first.processes)).encode("utf-8", "replace"))
        for trace in first.processes.values():
            _read(trace, whole)
    return whole.hexdigest()


def _read(trace: Trace, whole: Any) -> None:
    def add(thing: Any) -> None:
        whole.update(repr(thing).encode("utf-8", "replace"))

    add(sorted(trace.meta.items()))
    add(sorted(trace.sources.items()))
    add((trace.models, trace.bindings, trace.optimizers, len(trace.iterations)))
    for event in trace.events:
        add((event, str(event.position), event.failed, event.skipped, event.by_hand))
        add(trace.effect(event))
        add(trace.groups(event))
    add(trace.marks)
    add((trace.gaps, [str(gap) for gap in trace.gaps], trace.phases))
    add([[event.seq for event in iteration.events] for iteration in trace.iterations])
    if len(trace.events):
        add(sorted(trace.written(None)))
    for name, parameter in trace.parameters.items():
        add((name, parameter))
        for kind in trace.kinds(name):
            for number in trace.writes(name, kind):
                kept = trace.exactness(name, kind, at=int(number))
                add(kept)
                if kept == "not kept":
                    continue
                if kept in ("exact", "keyframe"):
                    value = trace.value(name, kind, at=int(number))
                    if value is not None and value.size < 1 << 22:
                        add((value.dtype, value.shape, value.tobytes()))
                    add(trace.sparse(name, kind, at=int(number)))
                else:
                    found = trace.sample(name, kind, at=int(number))
                    add(found and (found.indices.tobytes(), found.values.tobytes(), found.statistics))
            add([statistic.tobytes() for statistic in trace.statistics(name, kind, "norm")])
    for optimizer in trace.optimizers:
        add(trace.all_groups(optimizer))


def conclude_everything(path: Path) -> str:
    """A digest of what the rules, the ledger and the arithmetic make of a trace. Raises `OptraceError`."""
    whole = hashlib.sha256()
    with optrace.load(path) as first:
        for trace in first.processes.values():
            steps = [event.seq for event in trace.events if event.kind == "step"]
            for name in trace.parameters:
                accounts = [str(trace.ledger(name, at=event.seq)) for event in trace.events[::EVERY]]
                whole.update(repr((name, accounts)).encode("utf-8", "replace"))
                for step in steps[:: max(1, len(steps) // EXPLAINED)]:
                    try:
                        found = repr(explain(trace, step, name))
                    except LookupFailed as error:  # not this optimizer's, or not kept
                        found = str(error)
                    whole.update(found.encode("utf-8", "replace"))
        whole.update(repr([finding.to_dict() for finding in optrace.check(first)]).encode("utf-8", "replace"))
    return whole.hexdigest()


def attempt(path: Path) -> str:
    """A digest of all this, or the kind of error."""
    try:
        return read_everything(path) + conclude_everything(path)
    except OptraceError as error:
        said, kind = str(error), type(error).__name__
    assert said
    assert "\n" not in said
    return kind
