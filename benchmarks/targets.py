"""What the figures are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.overhead import Row
from benchmarks.reading import Measured

EXACT, SAMPLED = "optrace exact", "optrace sampled"


@dataclass(frozen=True)
class Target:
    """The most that a figure should be."""

    where: str
    """A workload, or a kind of trace."""
    what: str
    """A recorder, or what is measured of the trace."""
    limit: float
    unit: str
    scale: float = 1.0
    """What the measured number is multiplied by to have the unit."""


TARGETS = [
    Target("tiny", EXACT, 1.3, "×"),
    Target("mlp-100k", EXACT, 1.3, "×"),
    Target("digits-cnn", EXACT, 1.15, "×"),
    Target("gpt-10m", SAMPLED, 1.03, "×"),
    Target("gpt-124m", SAMPLED, 1.03, "×"),
    Target("", "`import optrace`", 50, " ms", 1e3),
    Target("long", "first screen", 0.5, " s"),
    Target("long", "first screen: memory", 250, " MB"),
    Target("long", "key press, cold: p50, p99", 33, " ms", 1e3),
    Target("long", "key press, warm: p50, p99", 33, " ms", 1e3),
    Target("wide", "key press, cold: p50, p99", 33, " ms", 1e3),
    Target("wide", "key press, warm: p50, p99", 33, " ms", 1e3),
    Target("sampled", "key press, cold: p50, p99", 33, " ms", 1e3),
    Target("sampled", "key press, warm: p50, p99", 33, " ms", 1e3),
    Target("long", "`check`, all rules", 5, " s"),
]


def table(rows: Iterable[Row], reading: Iterable[tuple[str, Measured]], write: Callable[[str], None]) -> None:
    """Markdown: of each target that was measured, whether it is met."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for row in rows:
        for recorder, ratios in row.ratios.items():
            found.setdefault((row.workload, recorder), []).append((f" ({row.optimizer})", statistics.median(ratios)))
    for kind, (label, _, number) in reading:
        found.setdefault((kind, label), []).append(("", number))
    write("| target | at most | measured | |")
    write("| --- | --: | --: | --- |")
    for target in TARGETS:
        for note, number in found.get((target.where, target.what), []):
            value = number * target.scale
            name = f"{target.where}: {target.what}{note}" if target.where else target.what
            met = "met" if value <= target.limit else f"missed by {value - target.limit:.3g}{target.unit}"
            write(f"| {name} | {target.limit:g}{target.unit} | {value:.3g}{target.unit} | {met} |")
