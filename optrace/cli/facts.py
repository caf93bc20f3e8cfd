"""What an event did, in a phrase: its loss, norm, learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from optrace.cli.text import count, number, printable
from optrace.trace.format import Op

if TYPE_CHECKING:
    from optrace.trace.model import Change, Event
    from optrace.trace.reader import Trace


def facts(trace: Trace, event: Event) -> str:
    """The event in a phrase, printable."""
    describe = _DESCRIBE.get(event.kind)
    parts = [] if event.optimizer is None else [printable(event.optimizer.name)]
    if event.skipped:
        parts.append("skipped")
    if describe is not None:
        parts += describe(trace, event)
    if event.by_hand:
        parts.append("by hand")
    if event.failed:
        parts.append("raised")
    return ", ".join(parts)


def gradient_norm(trace: Trace, event: Event) -> float | None:
    """Of all gradients the event put contributions into, together; None where there are none."""
    from optrace.cli.values import norm_after

    norms = [
        norm_after(trace, event.seq, change.parameter, change.kind)
        for change in final_changes(trace, event)
        if change.op is Op.DEPOSIT
    ]
    known = [norm for norm in norms if norm is not None]
    return math.sqrt(math.fsum(norm * norm for norm in known)) if known and len(known) == len(norms) else None


def final_changes(trace: Trace, event: Event) -> list[Change]:
    """What the event itself changed, last of each value; without what it only found changed."""
    last: dict[tuple[int, str], Change] = {}
    for change in trace.effect(event):
        if not change.before:
            last[change.parameter, change.kind] = change
    return list(last.values())


def learning_rates(trace: Trace, event: Event) -> list[Any]:
    """The learning rate of each of the event's param groups that has parameters."""
    return [group.hyper["lr"] for group in trace.groups(event) if "lr" in group.hyper]


def rates(values: Iterable[Any]) -> str:
    """`0.001`, or `0.1 and 0.01` where groups differ."""
    texts = list(dict.fromkeys(number(value) for value in values))
    return " and ".join(texts) if len(texts) <= 3 else f"{texts[0]} to {texts[-1]} in {len(texts)} groups"


def _zero_grad(trace: Trace, event: Event) -> list[str]:
    cleared = [c for c in final_changes(trace, event) if c.kind == "grad" and c.op in (Op.CLEAR, Op.ZERO)]
    if not cleared:
        return ["nothing to clear"]
    how = "filled with zeros" if all(change.op is Op.ZERO for change in cleared) else "cleared"
    return [f"{count(len(cleared), 'gradient')} {how}"]


def _backward(trace: Trace, event: Event) -> list[str]:
    parts = [f"loss {number(event.loss)}"] if event.loss is not None else []
    norm = gradient_norm(trace, event)
    parts.append(f"grad norm {number(norm)}{_of_shards(trace, event)}" if norm is not None else "")
    if "scale" in event.detail:
        parts.append(f"scaled by {number(event.detail['scale'])}")
    if not any(c.op is Op.DEPOSIT for c in trace.effect(event)):
        parts.append("no gradient reached a parameter")
    return [part for part in parts if part]


def _of_shards(trace: Trace, event: Event) -> str:
    """Says so where a norm is over shards: over the whole gradient only all processes together could tell."""
    placements = [trace.parameters.by_id(change.parameter).placement for change in final_changes(trace, event)]
    return " of the shards here" if any(place is not None and place.kind == "shard" for place in placements) else ""


def _step(trace: Trace, event: Event) -> list[str]:
    found = learning_rates(trace, event)
    changed = any(c.kind == "param" and c.op is Op.CHANGE for c in final_changes(trace, event))
    return ([f"lr {rates(found)}"] if found else []) + ([] if changed or event.skipped else ["no parameter changed"])


def _clip(trace: Trace, event: Event) -> list[str]:
    detail = event.detail
    limit = detail.get("max_norm", detail.get("clip_value"))
    name = "max norm" if "max_norm" in detail else "max value"
    before, after = detail.get("norm_before"), detail.get("norm_after")
    parts = [] if before is None else [_from_to("norm", before, before if after is None else after)]
    return [*parts, f"{name} {number(limit)}"] if limit is not None else parts


def _scheduler_step(trace: Trace, event: Event) -> list[str]:
    before, after = event.detail.get("lr_before"), event.detail.get("lr_after")
    name = printable(event.detail.get("scheduler", ""))
    if not isinstance(before, list) or not isinstance(after, list):
        return [name]
    return [f"lr {rates(before)}" if before == after else f"lr {rates(before)} → {rates(after)}", name]


def _unscale(trace: Trace, event: Event) -> list[str]:
    found = event.detail.get("found_inf")
    bad = isinstance(found, list) and any(found)
    return [f"scale {number(event.detail.get('scale'))}", *(["gradients not finite"] if bad else [])]


def _scaler_update(trace: Trace, event: Event) -> list[str]:
    return [_from_to("scale", event.detail.get("scale_before"), event.detail.get("scale_after"))]


def _load_state(trace: Trace, event: Event) -> list[str]:
    loaded = printable(event.detail.get("class", ""))
    return [] if event.optimizer is not None else [f"into {loaded}"]


def _mutation(trace: Trace, event: Event) -> list[str]:
    changed = final_changes(trace, event)
    names = list(dict.fromkeys(printable(trace.parameters.by_id(c.parameter).name) for c in changed))
    return [f"{listed(names)} changed"] if names else []


def _mark(trace: Trace, event: Event) -> list[str]:
    values = event.detail.get("values")
    if isinstance(values, dict):
        return [f"{printable(name)} = {number(value)}" for name, value in values.items()]
    name, value = printable(event.detail.get("name", "")), event.detail.get("value")
    return [name if value is None else f"{name} {number(value)}"]


def _gap(trace: Trace, event: Event) -> list[str]:
    return [printable(trace.gap(event.seq))]


def listed(names: Sequence[str], most: int = 2) -> str:
    """`a, b and 5 more`."""
    if len(names) <= most + 1:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _from_to(what: str, before: Any, after: Any) -> str:
    return f"{what} {number(before)}" if before == after else f"{what} {number(before)} → {number(after)}"


_DESCRIBE = {
    "zero_grad": _zero_grad,
    "backward": _backward,
    "step": _step,
    "clip": _clip,
    "scheduler_step": _scheduler_step,
    "unscale": _unscale,
    "scaler_update": _scaler_update,
    "load_state": _load_state,
    "mutation": _mutation,
    "mark": _mark,
    "gap": _gap,
}
