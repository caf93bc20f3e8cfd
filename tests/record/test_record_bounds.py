"""What a recording may take: memory while the disk is slow, and disk and memory however long it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import optrace
from optrace.recording import capture
from optrace.trace import writer as writing

BLOCKS = writing.TENSOR_BLOCK * writing.TENSOR_BLOCKS + writing.EVENT_BLOCK * writing.EVENT_BLOCKS
ALLOCATOR = 40 << 20  # what comes and goes with the gradients themselves: 10 to 28 MiB were seen

SLOW = """
import os, sys, time
import torch
import optrace

path, rate, turns, width = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
count, turned = int(sys.argv[5]), sys.argv[6] == "turned"
def slowed(write):
    def slowly(file, data, *place):
        if len(data) > 4096:
            time.sleep(len(data) / rate)
        return write(file, data, *place)
    return slowly
if rate:
    os.write, os.pwrite = slowed(os.write), slowed(os.pwrite)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

weights = [torch.zeros(width // 1000, 1000) for _ in range(count)]
weights = [(weight.t() if turned else weight).requires_grad_() for weight in weights]
optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
def turn():
    optimizer.zero_grad()
    for weight in weights:
        (weight * 2.0 + 1.0).square().sum().backward()
    optimizer.step()
for _ in range(3):
    turn()
with optrace.record(path, budget="64GB", capture="exact") as recording:
    turn()
    before = most = resident()
    for _ in range(turns):
        turn()
        most = max(most, resident())
print(most - before, recording.failure)
"""


def test_memory_is_bounded_whatever_the_disk(tmp_path: Path) -> None:
    """A disk of 60 MB/s: the training waits for it, and what stands between them is the blocks and no more."""
    assert grown(tmp_path / "run.optrace", "60e6", "40", "1000000", "1", "plain") < BLOCKS + ALLOCATOR
    assert optrace.load(tmp_path / "run.optrace").size() > 4 * BLOCKS  # it did not all fit into memory


def test_memory_for_copies_is_bounded_whatever_the_model(tmp_path: Path) -> None:
    """Tensors that cannot be read in place, more of them than may be held as copies: one after the other is."""
    width, count = 3_000_000, 12
    assert 4 * width * count > 2 * capture.COPIES
    found = grown(tmp_path / "run.optrace", "1e9", "1", str(width), str(count), "turned")
    assert found < BLOCKS + capture.COPIES + 3 * 4 * width + ALLOCATOR
    assert optrace.load(tmp_path / "run.optrace").size() > 4 * BLOCKS


def grown(*arguments: str | Path) -> int:
    """By how much a recording process grew while it recorded."""
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found, failure = done.stdout.split()
    assert failure == "None"
    return int(found)


def test_rows_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks faster than the index takes them: the program waits instead of heaping them up."""
    commit = writing.TraceWriter._commit

    def slowly(self: Any, rows: list[Any]) -> None:
        time.sleep(0.3)
        commit(self, rows)

    monkeypatch.setattr(writing.TraceWriter, "_commit", slowly)
    monkeypatch.setattr(writing, "MOST_ROWS", 500)
    monkeypatch.setattr("optrace.recording.recorder.MOST_ROWS", 500)
    most = 0
    with optrace.record(tmp_path / "run.optrace") as recording:
        for turn in range(3000):
            optrace.mark("turn", turn)
            most = max(most, len(recording._recorder.writer.rows))
    assert recording.failure is None
    assert most <= 510
    assert len(optrace.load(tmp_path / "run.optrace").events) == 3000


@pytest.mark.slow
def test_an_hour_of_events(tmp_path: Path) -> None:
    """As many iterations as an hour of a fast loop makes: memory flat, the file within its budget, the trace whole."""
    import torch

    path = tmp_path / "run.optrace"
    budget = 20_000_000
    model = torch.nn.Linear(20, 20)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = torch.ones(2, 20)
    turns, sizes, memory = 150_000, [], []
    with optrace.record(path, budget=budget) as recording:
        for turn in range(turns):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
            if turn % 1000 == 0:
                sizes.append(sum(file.stat().st_size for file in path.iterdir()))
                memory.append(_resident())
    assert recording.failure is None
    assert max(sizes) <= budget * 1.05
    late = memory[len(memory) // 3 :]
    assert max(late) - min(late) < 16 << 20
    trace = optrace.load(path)
    assert trace.complete
    assert trace.size() <= budget * 1.05
    assert len(trace.iterations) == turns
    recorded = [iteration for iteration in trace.iterations if iteration.recorded]
    missing = sum(gap.last - gap.first + 1 for gap in trace.gaps)
    assert len(recorded) + missing == turns
    assert sum(gap.events for gap in trace.gaps) + 3 * len(recorded) == 3 * turns
    assert recorded[-1].index > turns // 4  # it has gone on to record, ever fewer
    for iteration in recorded[:: max(1, len(recorded) // 50)]:
        assert [event.kind for event in iteration.events] == ["zero_grad", "backward", "step"]
        assert trace.statistics("weight", "grad", "norm", iteration.events[0].seq, iteration.events[2].seq + 1)[1].size
    assert not [finding for finding in optrace.check(trace) if finding.severity != "hint"]


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
