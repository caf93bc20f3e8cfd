"""What happened at an event whose call says it all: clipping, learning rates, scalers, loading, the user's marks."""

from __future__ import annotations

from collections.abc import Callable

from optrace.trace.model import Event
from optrace.tui.core.effects import Summary
from optrace.tui.core.numerals import count, listed, setting, short
from optrace.tui.core.spans import Line, Span

Named = Callable[[tuple[int, ...]], str]
"""Says which parameters these are: `all 6 parameters`."""


def clip(event: Event, summary: Summary, named: Named) -> list[Line]:
    before, after = event.detail.get("norm_before"), event.detail.get("norm_after")
    head = Span(str(event.detail.get("function", "Clipping")), "event-other bold")
    if not summary.rescaled:
        known = "" if before is None else f": their norm {_number(before)} is within the limit"
        text = f" left the gradients as they were{known}."
        return [[head, Span(text)]]
    line = [head, Span(" shrank the gradient of "), Span(named(summary.rescaled), "bold")]
    if before is not None and after is not None:
        line.append(Span(f": total norm {_number(before)} → {_number(after)}."))
    return [line]


def scheduler(event: Event, summary: Summary, named: Named) -> list[Line]:
    head = Span(f"{event.detail.get('scheduler', 'scheduler')}.step", "event-other bold")
    before, after = event.detail.get("lr_before"), event.detail.get("lr_after")
    if before == after or not isinstance(before, list) or not isinstance(after, list):
        return [[head, Span(" left the learning rate as it was.")]]
    pairs = [f"{setting(old)} → {setting(new)}" for old, new in zip(before, after, strict=False)]
    return [
        [
            head,
            Span(" changed the learning rate: "),
            Span(listed(list(dict.fromkeys(pairs))), "bold changed"),
            Span("."),
        ]
    ]


def unscale(event: Event, summary: Summary, named: Named) -> list[Line]:
    found, scale = event.detail.get("found_inf") or [], event.detail.get("scale")
    line = [
        Span("unscale_", "event-other bold"),
        Span(f" divided the gradients by the scale{'' if scale is None else f' {_number(scale)}'}."),
    ]
    if any(isinstance(value, (int, float)) and value for value in found):
        return [
            line,
            [Span("It found gradients that are not finite: the step will be left out.", "finding-warning")],
        ]
    return [line]


def scaler(event: Event, summary: Summary, named: Named) -> list[Line]:
    before, after = event.detail.get("scale_before"), event.detail.get("scale_after")
    change = "kept the loss scale" if before == after else "changed the loss scale"
    numbers = _number(before) if before == after else f"{_number(before)} → {_number(after)}"
    return [[Span("GradScaler.update", "event-other bold"), Span(f" {change}: {numbers}.")]]


def load(event: Event, summary: Summary, named: Named) -> list[Line]:
    of, name = event.detail.get("of", "module"), event.detail.get("class", "")
    changed = f"{count(len(summary.moved), 'parameter')} changed" if summary.moved else "no parameter changed"
    if of == "optimizer":
        changed = f"state entries written: {listed(list(summary.states))}" if summary.states else "no state was written"
    return [[Span(f"{name}.load_state_dict", "event-other bold"), Span(f" was called: {changed}.")]]


def mark(event: Event, summary: Summary, named: Named) -> list[Line]:
    values = event.detail.get("values")
    if isinstance(values, dict):
        text = ", ".join(f"{name} = {setting(value)}" for name, value in values.items())
        return [[Span("logged", "event-other bold"), Span(f" {text}")]]
    value = event.detail.get("value")
    return [
        [
            Span("mark", "event-other bold"),
            Span(f" {event.detail.get('name', '')}{'' if value is None else f' = {value}'}"),
        ]
    ]


def _number(value: object) -> str:
    return short(float(value), 4) if isinstance(value, (int, float)) else "–" if value is None else str(value)


CALLS: dict[str, Callable[[Event, Summary, Named], list[Line]]] = {
    "clip": clip,
    "scheduler_step": scheduler,
    "unscale": unscale,
    "scaler_update": scaler,
    "load_state": load,
    "mark": mark,
}
