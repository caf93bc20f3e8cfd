"""Recordings of the last iterations whose process dies, is told to keep them, or trains wrongly."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import optrace

LOOP = """
import sys, time
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Linear(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
turn = 0
while True:
    optimizer.zero_grad()
    model(torch.randn(4, 6)).square().mean().backward()
    optimizer.step()
    {each}
    turn += 1
"""
QUICK = """
from optrace.recording.lookout import Lookout
Lookout.post = lambda self, folder, ignored: None
import torch
import optrace.recording.ring
optrace.recording.ring.LEAST_CHUNK = 1
"""
"""As small as chunks can be, and nobody whom they wait for: so one is let go all the time."""


def expected(turns: int) -> list[np.ndarray]:
    """The weights after each turn of LOOP."""
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    found = []
    for _ in range(turns):
        optimizer.zero_grad()
        model(torch.randn(4, 6)).square().mean().backward()
        optimizer.step()
        found.append(model.weight.detach().numpy().copy())
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


def start(folder: Path, each: str, last: int = 20, before: str = QUICK) -> subprocess.Popen[str]:
    (folder / "train.py").write_text(before + LOOP.format(each=each), encoding="utf-8")
    command = [sys.executable, "-m", "optrace", "run", "--last", str(last), "train.py"]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def length(path: Path) -> int:
    try:
        with optrace.load(path) as trace:
            return len(trace.iterations)
    except optrace.OptraceError:
        return 0


def whole(path: Path, least: int = 20) -> int:
    """The trace is whole, and every value in it is the one that torch computed; its last whole iteration."""
    with optrace.load(path) as trace:
        assert len(trace.gaps) == 1
        first, last = trace.gaps[0].last + 1, trace.events[-1].iteration
        right = expected(last + 1)
        done = last if trace.events[-1].kind == "step" else last - 1
        assert done - first + 1 >= least
        for number, event in enumerate(trace.events[1:], start=1):
            assert event.seq == number
            assert event.seq + trace.base == 3 * event.iteration + event.index
            value = trace.value("weight", at=event.seq)
            after = event.iteration if event.kind == "step" else event.iteration - 1
            assert value.tobytes() == right[after].tobytes()
            trace.value("weight", "grad", at=event.seq)
            trace.ledger("weight", event.seq)
            assert (event.kind == "step") == bool(trace.groups(event))
        assert not optrace.check(trace)
        return done


def killed(folder: Path, seconds: float) -> None:
    process = start(folder, "if turn == 200: print('go', flush=True)")
    try:
        assert process.stdout.readline() == "go\n"
        time.sleep(seconds)
    finally:
        process.kill()
        process.communicate()
    assert whole(folder / "train.optrace") >= 40


@pytest.mark.parametrize("seconds", [0.0, 0.111, 0.37])
def test_killed_while_iterations_are_let_go(tmp_path: Path, seconds: float) -> None:
    killed(tmp_path, seconds)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(60))
def test_killed_at_any_moment(tmp_path: Path, number: int) -> None:
    killed(tmp_path, random.Random(number).uniform(0, 0.6))


@pytest.mark.parametrize(
    ("each", "code", "raised"),
    [
        ("if turn == 90: raise ValueError('bad')", 1, "ValueError"),
        ("if turn == 90: sys.exit(3)", 3, "SystemExit"),
        ("if turn == 90: import os; os.kill(os.getpid(), 2)", -2, "KeyboardInterrupt"),
    ],
)
def test_an_end_by_an_exception(tmp_path: Path, each: str, code: int, raised: str) -> None:
    process = start(tmp_path, each)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert whole(tmp_path / "train.optrace") == 90
    with optrace.load(tmp_path / "train.optrace") as trace:
        assert trace.complete
        assert trace.meta["raised"] == raised


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV])
def test_a_death_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, f"if turn == 90: time.sleep(0.3); import os; os.kill(os.getpid(), {int(number)})")
    _, said = process.communicate(timeout=120)
    assert process.returncode == -number, said
    assert whole(tmp_path / "train.optrace") == 90  # what is older than a moment is on disk


def lookouts(folder: Path) -> list[int]:
    """The processes that look for errors in a trace of this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(b"checks.live" in word for word in words) and any(str(folder).encode() in w for w in words):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_whoever_looks_for_errors_ends_with_the_process(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(0.001)", before="")
    try:
        wait_for(lambda: lookouts(tmp_path))
        (watching,) = lookouts(tmp_path)
        wait_for(lambda: os.getpriority(os.PRIO_PROCESS, watching) == 19)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        assert str(watching) not in children  # it is none that the program could wait for
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not lookouts(tmp_path))


def test_an_error_ends_it_with_what_led_there(tmp_path: Path) -> None:
    each = "time.sleep(0.002)\n    if turn == 300: model.weight.data[0, 0] = float('nan')\n    if turn > 9000: break"
    process = start(tmp_path, each, last=2000, before="")
    try:
        kept = ""
        for line in process.stderr:
            if "kept iterations" in line:
                kept = line
                break
        assert "OT40" in kept
        assert process.poll() is None  # the training goes on
    finally:
        process.kill()
        process.communicate()
    with optrace.load(tmp_path / "train.optrace") as trace:
        assert trace.complete
        assert trace.meta["kept"].startswith("OT40")
        assert trace.iterations[299].recorded
        assert np.isnan(trace.value("weight", at="302:2")).any()
        assert not np.isnan(trace.value("weight", at="299:2")).any()
        assert {finding.code[:4] for finding in optrace.check(trace) if finding.severity == "error"} == {"OT40"}


def test_a_missing_zero_grad_ends_it_but_not_where_it_is_ignored(tmp_path: Path) -> None:
    wrong = "(0 if turn else 1) or [p.grad.mul_(1) for p in model.parameters()]"
    loop = LOOP.replace("    optimizer.zero_grad()\n", "")
    (tmp_path / "one.py").write_text(loop.format(each=f"{wrong}; time.sleep(0.001)\n    if turn > 6000: break"))
    command = [sys.executable, "-m", "optrace", "run", "--last", "500", "one.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if "kept iterations" in line)
        assert "OT101 missing-zero-grad at one.py:" in line
    finally:
        process.kill()
        process.communicate()


def test_told_to_keep_from_another_terminal(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(0.001)")
    try:
        wait_for(lambda: length(tmp_path / "train.optrace") > 60)

        def keep(*why: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "optrace", "keep", "train.optrace", *why]
            return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)

        told = keep("the fan is loud")
        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith("kept iterations ")
        again = keep()
        assert again.returncode == 2
        assert "has ended" in again.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    with optrace.load(tmp_path / "train.optrace") as trace:
        assert trace.meta["kept"] == "optrace keep: the fan is loud"
    whole(tmp_path / "train.optrace")
