"""What reading a trace costs: opening, stepping, values, statistics, checking, memory.

The trace is made by one process and read by a fresh one, so that what is measured is what a reader pays.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
else:
    model, width = nn.Sequential(*(m for _ in range(1250) for m in (nn.Linear(8, 8), nn.LayerNorm(8)))), 8
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
inputs, targets = torch.randn(4, width), torch.randn(4, width)
with optrace.record(path, budget="8GB"):
    for _ in range(turns):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
"""
IMPORT = "import time; t = time.perf_counter(); import optrace; print(time.perf_counter() - t)"
TRACES = {"long": 333_334, "wide": 20}
"""`long`: two parameters and a million events. `wide`: 5,000 parameters and 60 events. Turns of the loop."""


def measure(kind: str, turns: int, folder: Path) -> list[tuple[str, str]]:
    """Record a trace in one process, read it in another."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "run.optrace"
        subprocess.run([sys.executable, "-c", RECORD, kind, str(turns), str(path)], check=True)
        command = [sys.executable, "-m", "benchmarks.reading", str(path)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [(str(label), str(value)) for label, value in json.loads(found)]


def import_time() -> str:
    runs = [subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.PIPE) for _ in range(9)]
    return _milliseconds([float(run.stdout) for run in runs])


def read(path: Path) -> list[tuple[str, str]]:
    """Everything that is measured of one trace, in this process."""
    import optrace

    rows: list[tuple[str, str]] = []
    before = _memory()
    trace, took = _timed(lambda: optrace.load(path))
    count = len(trace.events)
    chance = random.Random(0)
    rows.append(("events, parameters", f"{count:,}, {len(trace.parameters):,}"))
    rows.append(("on disk", f"{trace.size() / 1e6:.1f} MB"))
    rows.append(("`optrace.load`", _milliseconds([took])))
    names = list(trace.parameters)
    first = count // 2

    def at(place: int) -> Any:
        return trace.value(chance.choice(names), "param", at=place)

    rows.append(("first value", _milliseconds([_timed(lambda: at(first))[1]])))
    steps = range(first, min(first + 1000, count - 1))
    rows.append(("event by event: p50, p99", _milliseconds([_timed(lambda n=n: trace.events[n])[1] for n in steps])))
    places = [chance.randrange(3, count) for _ in range(1000)]
    rows.append(("value at a random place: p50, p99", _milliseconds([_timed(lambda n=n: at(n))[1] for n in places])))
    whole = [_timed(lambda: trace.statistics(names[-1], "grad", "norm"))[1] for _ in range(3)]
    rows.append(("a gradient's norm over the run: first, again", f"{whole[0] * 1e3:.1f}, {whole[-1] * 1e3:.1f} ms"))
    rows.append(("`check`, all rules", _milliseconds([_timed(lambda: optrace.check(trace))[1]])))
    rows.append(("memory: the process, of it optrace", f"{_memory():.0f} MB, {_memory() - before:.0f} MB"))
    return rows


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def _milliseconds(times: list[float]) -> str:
    median = statistics.median(times) * 1e3
    if len(times) < 100:
        return f"{median:.1f} ms"
    return f"{median:.3f}, {sorted(times)[int(0.99 * len(times))] * 1e3:.3f} ms"


def _memory() -> float:
    """The most this process has held so far, MB."""
    try:  # the other count also has what the process held that started this one
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1]))))
