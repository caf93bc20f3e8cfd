"""How long the screen takes to answer each key, on a trace that is there already.

    python -m benchmarks.keys RUN.optrace --size 120x36 --presses 300

Every key of the main screen is pressed in every tab of the inspector, from places where nothing has been looked at yet
(cold: the first press after a jump) and from where it was just pressed (warm). All is done that is done in a terminal,
short of the terminal: what would be written to it is thrown away. A key is answered with the last picture before the
screen has nothing left to do for it; what threads deliver later is not part of the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.drivers.headless_driver import HeadlessDriver
from textual.events import Key
from textual.screen import Screen

import optrace
from optrace.tui.app import ViewApp
from optrace.tui.base import unhindered
from optrace.tui.core.session import View
from optrace.tui.core.tabs import TABS
from optrace.tui.screens.keys import KEYS, sign
from optrace.tui.screens.panes import Panes

Measured = dict[tuple[str, str], "Times"]
"""By `cold` or `warm`, and by key."""
RUN = 4
"""Presses after each jump: the first cold, the others warm."""
SIZES = ((80, 24), (120, 36), (200, 50))
_LEFT_OUT = ("app.quit",)


@dataclass
class Times:
    """Seconds that presses of one key took: by the clock, and of the processor in the screen's thread."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, wall: float, processor: float) -> None:
        self.wall.append(wall)
        self.processor.append(processor)

    def __add__(self, other: Times) -> Times:
        return Times(self.wall + other.wall, self.processor + other.processor)


class Nowhere(HeadlessDriver):
    """A terminal of a fixed size that shows nothing, and of which the app does not know that."""

    @property
    def is_headless(self) -> bool:
        return False


class Watched(ViewApp):
    """The app, telling when it last drew something."""

    drawn = (0.0, 0.0)

    def post_display_hook(self) -> None:
        self.drawn = time.perf_counter(), time.thread_time()


def keys() -> Iterator[tuple[str, str]]:
    """The first key of each binding of the main screen, and how it is written."""
    for binding in KEYS:
        assert isinstance(binding, Binding)
        if binding.action not in _LEFT_OUT:
            yield binding.key.split(",")[0], sign(binding)


def everywhere(tabs: tuple[str, ...] = TABS) -> list[tuple[str, str, str]]:
    """Each key in each of these tabs: the tab, the key, and how it is written."""
    return [(tab, *key) for tab in tabs for key in keys()]


def in_turn() -> list[tuple[str, str, str]]:
    """Each key once; the tabs take turns."""
    return [(TABS[number % len(TABS)], *key) for number, key in enumerate(keys())]


def measure(path: Path, size: tuple[int, int], presses: list[tuple[str, str, str]], rounds: int = 1) -> Measured:
    """Press keys in tabs of the inspector: in each round at another place, once cold and then warm."""
    with unhindered():  # as the app is where it has the process for itself
        return asyncio.run(_measure(path, size, presses, rounds))


async def _measure(path: Path, size: tuple[int, int], presses: list[tuple[str, str, str]], rounds: int) -> Measured:
    app = Watched(optrace.load(path), ascii_only=False)
    app.driver_class = Nowhere
    running = asyncio.create_task(app.run_async(size=size))
    found: Measured = defaultdict(Times)
    chance = random.Random(0)
    try:
        while not app.session.findings.ready:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # what is got ready for the first keys
        gc.freeze()
        for tab, key, shown in presses:
            for _ in range(rounds):
                await _begin(app, tab, chance)
                for number in range(RUN):
                    found["warm" if number else "cold", shown].add(*await _press(app, key))
                    if app.screen is not app.main:
                        found["warm", "Esc (window)"].add(*await _press(app, "escape"))
    finally:
        app.exit()
        await running
        app.close()
    return found


async def _begin(app: Watched, tab: str, chance: random.Random) -> None:
    """Look at some place, at some parameter, as when the trace was opened."""
    session, main = app.session, app.main
    if main.playing:
        main.action_play()
    if app.theme != "optrace-dark":
        app.theme = "optrace-dark"
    main.stop_search()
    session.view = View(tab=tab)
    session.use_order("order", [])
    session.cursor.jump(chance.randrange(len(session.trace.events)))
    session.choose(chance.randrange(len(session.rows)))
    session.mark = None
    main.quiet()
    main.redraw()
    main.table.reveal()
    await _idle(app)
    while any(not worker.is_finished for worker in app.workers):
        await asyncio.sleep(0.002)
    await _idle(app)


async def _press(app: Watched, key: str) -> tuple[float, float]:
    """Press a key; how long until its answer was drawn, by the clock and of the processor."""
    begun = app.drawn = time.perf_counter(), time.thread_time()
    app.screen.post_message(Key(key, None))
    await _idle(app)
    return app.drawn[0] - begun[0], app.drawn[1] - begun[1]


async def _idle(app: Watched) -> None:
    """Until the screen has nothing left to do for what it was told."""
    quiet = 0
    while quiet < 3:
        await asyncio.sleep(0.001)  # not without a pause: this would count as the screen's own time
        quiet = 0 if _busy(app) else quiet + 1


def _busy(app: Watched) -> bool:
    screen: Screen[Any] = app.screen
    pumps = (app, screen, *(screen.panes if isinstance(screen, Panes) else screen.walk_children()))
    return (
        bool(screen._dirty_widgets or screen._layout_required or screen._repaint_required or screen._callbacks)
        or screen._scroll_required
        or any(pump._message_queue is not None and pump._message_queue.qsize() for pump in pumps)
        or any(getattr(pump, "_next_callbacks", ()) for pump in pumps)
    )


def percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(found: Measured) -> list[tuple[str, str]]:
    """Of all keys together, cold and warm: p50, p99, and the key whose own p99 is the greatest."""
    rows = []
    for state in ("cold", "warm"):
        whole = Times()
        for (kind, _), times in found.items():
            if kind == state:
                whole = whole + times
        own = {key: percentile(times.processor, 0.99) for (kind, key), times in found.items() if kind == state}
        worst = max(own, key=lambda key: own[key])
        rows.append((f"keys, {state}: p50, p99 by the clock", _pair(whole.wall)))
        rows.append((f"keys, {state}: p50, p99 of the processor", _pair(whole.processor)))
        rows.append((f"keys, {state}: the slowest, `{worst}`, its p99 of the processor", f"{own[worst] * 1e3:.1f} ms"))
    return rows


def _pair(times: list[float]) -> str:
    return f"{percentile(times, 0.5) * 1e3:.1f}, {percentile(times, 0.99) * 1e3:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.keys", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("trace", type=Path)
    parser.add_argument("--size", action="append", help="columns and lines, as in 120x36; may be repeated (all three)")
    parser.add_argument("--presses", type=int, default=300, help="of each key, over all tabs (300)")
    parser.add_argument("--tab", action="append", choices=TABS, help="this one alone; may be repeated")
    parser.add_argument("--slow", type=float, default=20, help="list the keys whose p99 is above so many ms (20)")
    chosen = parser.parse_args()
    trace = chosen.trace.absolute()
    sizes = [(int(size.split("x")[0]), int(size.split("x")[1])) for size in chosen.size or ()] or SIZES
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pictures are saved where one is
        for size in sizes:
            began = os.getloadavg()[0]
            tabs = tuple(chosen.tab or TABS)
            found = measure(trace, size, everywhere(tabs), max(1, chosen.presses // RUN // len(tabs)))
            print(f"{trace.name} at {size[0]}x{size[1]}, load {began:.1f} to {os.getloadavg()[0]:.1f}")
            for label, value in summary(found):
                print(f"  {label}: {value}")
            for (state, key), times in sorted(found.items(), key=lambda entry: -percentile(entry[1].processor, 0.99)):
                if percentile(times.processor, 0.99) * 1e3 > chosen.slow:
                    took = f"{_pair(times.processor)}, by the clock {_pair(times.wall)}"
                    print(f"    {key:9s} {state}: {took}, {len(times.wall)} presses")


if __name__ == "__main__":
    main()
