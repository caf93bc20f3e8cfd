"""One event with everything it touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optrace.cli.asjson import event_object, site_object
from optrace.cli.facts import facts
from optrace.cli.text import clipped_left, number, printable, shape, short_path, source_line, table, wrapped
from optrace.cli.values import norm_after, norm_before
from optrace.trace.format import Op

if TYPE_CHECKING:
    from optrace.trace.model import Change, Event, Site
    from optrace.trace.reader import Trace

_WORDS = {
    Op.INIT: "first seen",
    Op.DEPOSIT: "contribution added",
    Op.CLEAR: "cleared to None",
    Op.ZERO: "filled with zeros",
    Op.CHANGE: "changed",
    Op.GONE: "removed",
    Op.LOST: "not recorded",
    Op.RESTATED: "as it was",
}


def event_lines(trace: Trace, event: Event, width: int) -> list[str]:
    """The event for people."""
    folder = trace.meta.get("cwd")
    kind = event.kind if not event.depth else f"{event.kind} (inside {event.depth} other)"
    lines = [f"{event.position}  {kind}  {facts(trace, event)}".rstrip()]
    if event.site is not None:
        lines.append(f"at {short_path(event.site.file, folder)}:{event.site.line} in {printable(event.site.function)}")
        text = source_of(trace, event.site)
        if text:
            lines.append(f"    {source_line(text)}")
        lines += [
            f"  called at {short_path(site.file, folder)}:{site.line} in {printable(site.function)}"
            for site in event.stack[event.stack.index(event.site) + 1 :]
        ]
    lines.append(f"after {event.time:.6f} s, took {event.duration * 1000:.3f} ms, thread {printable(event.thread)}")
    for place, group in enumerate(trace.groups(event)):
        lines += wrapped(f"group {place}: {settings(group.hyper)}", width, "  ")
    changes = touched(trace, event)
    if not changes:
        return [*lines, "", "it changed no parameter, gradient or optimizer state"]
    rows = [["parameter", "shape", "value", "what happened", "norm", "", ""]]
    room = max(width - 66, 14)
    for change in changes:
        parameter = trace.parameters.by_id(change.parameter)
        before = norm_before(trace, event.seq, parameter, change.kind) if change.op is not Op.INIT else None
        rows.append(
            [
                clipped_left(printable(parameter.name), room),
                shape(parameter.shape),
                printable(change.kind),
                _marked(words(event, change), trace.exactness_of(event.seq, change)),
                _norm(before),
                "→",
                _norm(norm_after(trace, event.seq, change.parameter, change.kind)),
            ]
        )
    return [*lines, "", *table(rows, right=(4, 6), gap="  " if _fits(rows, width) else " ")]


def whole_event_object(trace: Trace, event: Event) -> dict[str, Any]:
    """The event for programs: with its param groups and everything it changed."""
    return {
        **event_object(event),
        "stack": [site_object(site) for site in event.stack],
        "groups": [
            {"parameters": [trace.parameters.by_id(p).name for p in group.parameters], **dict(group.hyper)}
            for group in trace.groups(event)
        ],
        "changes": [_change_object(trace, event, change) for change in touched(trace, event)],
    }


def touched(trace: Trace, event: Event) -> list[Change]:
    """The last thing that happened to each value; what was only found out counts where nothing else did."""
    last: dict[tuple[int, str], Change] = {}
    for change in trace.effect(event):
        last[change.parameter, change.kind] = change
    return list(last.values())


def _marked(said: str, kept: str | None) -> str:
    """`updated, sampled`: how much of the value was kept, where that is not all."""
    return said if kept in (None, "exact") else f"{said}, {kept}"


def words(event: Event, change: Change) -> str:
    """What happened to a value, in two words."""
    if change.before:
        return "found new" if change.op is Op.INIT else f"found {_WORDS[change.op]}"
    if change.op is Op.INIT and change.kind not in ("param", "grad"):
        return "created"
    if change.op is Op.CHANGE and event.kind == "step" and change.kind != "grad":
        return "updated"
    return _WORDS[change.op]


def settings(hyper: Any) -> str:
    """`lr 0.1, momentum 0.9`: a group's hyperparameters that say something, each to be kept on one line."""
    said = {name: value for name, value in hyper.items() if value is not None and value is not False}
    return ", ".join(f"{printable(name)} {_setting(value)}".replace(" ", "\xa0") for name, value in said.items())


def source_of(trace: Trace, site: Site) -> str:
    """The text of a line of the program, '' where it was not kept."""
    lines = trace.sources.get(site.file, "").splitlines()
    return lines[site.line - 1] if 0 < site.line <= len(lines) else ""


def _setting(value: Any) -> str:
    return f"({', '.join(map(number, value))})" if isinstance(value, (list, tuple)) else number(value)


def _norm(value: float | None) -> str:
    return "none" if value is None else number(value)


def _fits(rows: list[list[str]], width: int) -> bool:
    return sum(max(len(row[i]) for row in rows) for i in range(len(rows[0]))) + 2 * (len(rows[0]) - 1) <= width


def _change_object(trace: Trace, event: Event, change: Change) -> dict[str, Any]:
    parameter = trace.parameters.by_id(change.parameter)
    return {
        "parameter": parameter.name,
        "value": change.kind,
        "what": change.op.name.lower(),
        "before_call": change.before,
        "kept": trace.exactness_of(event.seq, change),
        "dtype": change.dtype or None,
        "shape": list(change.shape) if change.dtype else None,
        "norm_before": norm_before(trace, event.seq, parameter, change.kind) if change.op is not Op.INIT else None,
        "norm_after": norm_after(trace, event.seq, change.parameter, change.kind),
    }
