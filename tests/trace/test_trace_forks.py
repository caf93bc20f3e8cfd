"""Forks beside the writer: SQLite's locks are free in the child."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import torch

import optrace
from optrace.trace import forks
from optrace.trace.forks import in_sqlite

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def fork_and_wait(patience: float = 20.0) -> bool:
    """Fork a child that uses SQLite; whether it ended well in this many seconds."""
    child = os.fork()
    if child == 0:
        with in_sqlite(), sqlite3.connect(":memory:") as database:
            database.execute("CREATE TABLE a (b)")
        os._exit(0)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def test_a_fork_waits_until_the_writer_is_out_of_sqlite() -> None:
    inside, times = threading.Event(), {}

    def work() -> None:
        with in_sqlite():
            inside.set()
            time.sleep(0.5)
            times["left"] = time.monotonic()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    assert fork_and_wait()
    assert "left" in times
    thread.join()
    with in_sqlite():  # and it is free here too
        assert fork_and_wait()


def test_a_fork_does_not_wait_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.1)
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with in_sqlite():
            inside.set()
            over.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    assert fork_and_wait()  # its own lock is a new one
    over.set()
    thread.join()
    with in_sqlite():
        assert fork_and_wait()


def test_forks_beside_a_busy_writer(tmp_path: Path) -> None:
    weights = [torch.ones(2, requires_grad=True) for _ in range(20)]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    with optrace.record(tmp_path / "run.optrace") as recording:
        for _ in range(30):
            for _ in range(5):
                optimizer.zero_grad()
                torch.stack(weights).sum().backward()
                optimizer.step()
            assert fork_and_wait()
    assert recording.failure is None
    assert len(optrace.load(tmp_path / "run.optrace").events) == 30 * 5 * 3
