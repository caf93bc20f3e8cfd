"""What reading a trace costs: opening, stepping, values, statistics, checking, memory, the screen and its keys.

The trace is made by one process and read by a fresh one, so that what is measured is what a reader pays.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RECORD = """
import sys, torch, optrace
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
kind, turns, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if kind == "long":
    model, width = nn.Linear(1, 1), 1
elif kind == "wide":
    model, width = nn.Sequential(*(m for _ in range(1250) for m in (nn.Linear(8, 8), nn.LayerNorm(8)))), 8
else:
    model, width = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(6))), 1024
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
inputs, targets = torch.randn(4, width), torch.randn(4, width)
with optrace.record(path, budget="20MB" if kind == "sampled" else "8GB"):
    for _ in range(turns):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
"""
IMPORT = "import time; t = time.perf_counter(); import optrace; print(time.perf_counter() - t)"
TRACES = {"long": 333_334, "wide": 20, "sampled": 20}
"""`long`: two parameters and a million events. `wide`: 5,000 parameters and 60 events. `sampled`: 12 parameters, of a
million elements each the largest, past the budget; for the keys alone. Turns of the loop.
"""


Measured = tuple[str, str, float]
"""What was measured, its figures as text, and the one that a target may be set for: seconds (the p99), or MB."""


def measure(kind: str, turns: int, folder: Path, quick: bool) -> list[Measured]:
    """Record a trace in one process, read it in others: by the API, on the screen, by keys of the screen."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "run.optrace"
        subprocess.run([sys.executable, "-c", RECORD, kind, str(turns), str(path)], check=True)
        if kind == "sampled":
            return _elsewhere("keys", path, "quick" if quick else "")
        rows = _elsewhere("read", path)
        if kind == "long":
            rows += _elsewhere("screen", path)
        return rows + _elsewhere("keys", path, "quick" if quick else "")


def _elsewhere(what: str, path: Path, *more: str) -> list[Measured]:
    """What a fresh process measures."""
    command = [sys.executable, "-m", "benchmarks.reading", what, str(path), *more]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [(str(label), str(text), float(number)) for label, text, number in json.loads(found.splitlines()[-1])]


def everything(quick: bool, folder: Path) -> Iterator[tuple[str, Measured]]:
    """All that is measured of reading, each with the kind of trace it is about."""
    yield "", import_time()
    for kind, turns in TRACES.items():
        for found in measure(kind, max(5, turns // 20) if quick else turns, folder, quick):
            yield kind, found


def import_time() -> Measured:
    runs = [subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.PIPE) for _ in range(9)]
    return _times("`import optrace`", [float(run.stdout) for run in runs])


def read(path: Path) -> list[Measured]:
    """Everything that is measured of one trace, in this process."""
    import optrace

    before = memory()
    trace, opening = _timed(lambda: optrace.load(path))
    count = len(trace.events)
    chance = random.Random(0)
    names = list(trace.parameters)
    middle = count // 2

    def at(place: int) -> Any:
        return trace.value(chance.choice(names), "param", at=place)

    rows: list[Measured] = [
        ("events, parameters", f"{count:,}, {len(names):,}", count),
        ("on disk", f"{trace.size() / 1e6:.1f} MB", trace.size() / 1e6),
        _times("`optrace.load`, with what it imports", [opening]),
        _times("first value", [_timed(lambda: at(middle))[1]]),
    ]
    steps = range(middle, min(middle + 1000, count - 1))
    rows.append(_times("event by event: p50, p99", [_timed(lambda n=n: trace.events[n])[1] for n in steps]))
    places = [chance.randrange(3, count) for _ in range(1000)]
    rows.append(_times("value at a random place: p50, p99", [_timed(lambda n=n: at(n))[1] for n in places]))
    first, *_, again = [_timed(lambda: trace.statistics(names[-1], "grad", "norm"))[1] for _ in range(3)]
    rows.append(("a gradient's norm over the run: first, again", f"{first * 1e3:.1f}, {again * 1e3:.1f} ms", first))
    rows.append(_times("`check`, all rules", [_timed(lambda: optrace.check(trace))[1]]))
    held = memory()
    rows.append(("memory: the process, of it optrace", f"{held:.0f} MB, {held - before:.0f} MB", held))
    return rows


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def _times(label: str, times: list[float]) -> Measured:
    """The median; of many, the 99th percentile as well."""
    median = statistics.median(times)
    if len(times) < 100:
        return label, f"{median * 1e3:.1f} ms", median
    late = sorted(times)[int(0.99 * len(times))]
    return label, f"{median * 1e3:.3f}, {late * 1e3:.3f} ms", late


def memory() -> float:
    """The most this process has held so far, MB."""
    try:  # the other count also has what the process held that started this one
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def first_screen(path: Path) -> list[Measured]:
    """From the start of `optrace view` until a terminal has its first screen."""
    from benchmarks import first

    took, held = first.first_screen(path)
    return [("first screen", f"{took:.2f} s", took), ("first screen: memory", f"{held:.0f} MB", held)]


def presses(path: Path, quick: bool) -> list[Measured]:
    """Every key of the screen at three sizes; the tabs of the inspector take turns.

    Cold: from places where nothing was looked at yet. Warm: from where it was just pressed.
    """
    from benchmarks import keys

    trace = path.absolute()
    rows: list[Measured] = []
    whole: keys.Measured = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pictures are saved where one is
        for size in keys.SIZES[1:2] if quick else keys.SIZES:
            found = keys.measure(trace, size, keys.in_turn())
            slowest = sorted(found.items(), key=lambda entry: -max(entry[1].wall))[:3]
            words = ", ".join(f"`{key}` {max(times.wall) * 1e3:.0f} ms {state}" for (state, key), times in slowest)
            rows.append((f"slowest key presses at {size[0]}×{size[1]}", words, max(slowest[0][1].wall)))
            for entry, times in found.items():
                whole[entry] = whole.get(entry, keys.Times()) + times
    for state in ("warm", "cold"):
        taken = [took for (kind, _), each in whole.items() if kind == state for took in each.wall]
        late = keys.percentile(taken, 0.99)
        text = f"{statistics.median(taken) * 1e3:.1f}, {late * 1e3:.1f} ms, {len(taken):,} presses"
        rows.insert(0, (f"key press, {state}: p50, p99", text, late))
    return rows


def main() -> None:
    what, path, *more = sys.argv[1:]
    if what == "read":
        rows = read(Path(path))
    else:
        rows = first_screen(Path(path)) if what == "screen" else presses(Path(path), "quick" in more)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
