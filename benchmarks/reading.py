"""What reading a trace costs: importing, opening, stepping, checking.

    python benchmarks/reading.py [--iterations N]      three events to an iteration
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RECORD = """
import sys, torch, optrace
from torch import nn
torch.manual_seed(0)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
inputs, targets = torch.randn(1, 1), torch.randn(1, 1)
with optrace.record(sys.argv[1]):
    for _ in range(int(sys.argv[2])):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
"""


def timed(label: str, call: Any, repeats: int = 1) -> Any:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    print(f"{label:46} {statistics.median(times) * 1e3:10.1f} ms")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=33_334)
    options = parser.parse_args()
    code = "import time; t = time.perf_counter(); import optrace; print(time.perf_counter() - t)"
    fresh = [sys.executable, "-c", code]
    imports = [float(subprocess.run(fresh, check=True, capture_output=True, text=True).stdout) for _ in range(9)]
    print(f"{'import optrace':46} {statistics.median(imports) * 1e3:10.1f} ms")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.optrace"
        subprocess.run([sys.executable, "-c", RECORD, str(path), str(options.iterations)], check=True)
        import optrace

        trace = timed("optrace.load", lambda: optrace.load(path), 9)
        count = len(trace.events)
        print(f"{'events':46} {count:10,}")
        timed("first value", lambda: trace.value("weight", "grad", at=count // 2))
        places = [random.Random(0).randrange(count) for _ in range(1000)]
        timed("1000 values at random places", lambda: [trace.value("weight", "grad", at=place) for place in places])
        timed("1000 events at random places", lambda: [trace.events[place] for place in places])
        timed("gradient norm over the whole run", lambda: trace.statistics("weight", "grad", "norm"))
        timed("check", lambda: optrace.check(trace))
        print(f"{'memory at the end':46} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:10.0f} MB")


if __name__ == "__main__":
    main()
