"""Training loops for traces: deterministic, so that every value can be computed again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# In a process of its own: writes a line to stdout once training runs.
SCRIPT = """
import sys, torch, optrace
from pathlib import Path
torch.set_num_threads(1)
path, turns, size, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
budget = int(sys.argv[5]) if len(sys.argv) > 5 else 1 << 31

def train():
    import time
    weight = torch.arange(float(size)).requires_grad_()
    counter = torch.zeros(3, dtype=torch.int64)
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.5)
    for turn in range(turns):
        optimizer.zero_grad()
        (weight * (turn % 7 + 1)).sum().backward()
        optimizer.step()
        if turn == 1:
            print("running", flush=True)
        if pause:
            time.sleep(pause)
    return weight

with optrace.record(path, budget=budget) as recording:
    weight = train()
print("done", repr(recording.failure), float(weight.detach().sum()), flush=True)
"""


def start(path: Path, turns: int, size: int = 100, pause: float = 0.0, **options: Any) -> subprocess.Popen[str]:
    """The loop in its own process, once it trains."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(turns), str(size), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    return process


def wait_until_running(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "running\n", (line, process.stderr and process.stderr.read())


def expected(turns: int, size: int = 100) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """After so many whole turns: weight, gradient, momentum buffer; float32, as torch computes them."""
    weight = np.arange(size, dtype=np.float32)
    buffer = gradient = np.zeros(size, np.float32)
    for turn in range(turns):
        gradient = np.full(size, turn % 7 + 1, np.float32)
        buffer = gradient.copy() if turn == 0 else buffer * np.float32(0.5) + gradient
        weight = weight + np.float32(-0.5) * buffer
    return weight, gradient, buffer


def check(trace: Any, size: int = 100) -> int:
    """Every value of every event of the loop above; how many events there were."""
    weight = np.arange(size, dtype=np.float32)
    buffer: np.ndarray[Any, Any] | None = None
    gradient: np.ndarray[Any, Any] | None = None
    order = ["zero_grad", "backward", "step"]
    for event in trace.events:
        assert event.kind == order[event.seq % 3]
        turn = event.seq // 3
        assert event.position == (turn, event.seq % 3)
        if event.kind == "zero_grad":
            gradient = None
        elif event.kind == "backward":
            gradient = np.full(size, turn % 7 + 1, np.float32)
        else:
            assert gradient is not None
            buffer = gradient.copy() if buffer is None else buffer * np.float32(0.5) + gradient
            weight = weight + np.float32(-0.5) * buffer
        for kind, value in (("param", weight), ("grad", gradient), ("momentum_buffer", buffer)):
            if kind == "momentum_buffer" and value is None:
                continue
            found = trace.value("weight", kind, at=event)
            if value is None:
                assert found is None, (event, kind)
            else:
                assert found is not None, (event, kind)
                assert found.tobytes() == value.tobytes(), (event, kind)
    return len(trace.events)


def pause(seconds: float) -> None:
    time.sleep(seconds)
