"""A trace that another process is writing while it is looked at."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import optrace
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

RECORD = """
import sys, time, torch, optrace
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=1e-4)
with optrace.record(sys.argv[1], last=int(sys.argv[2]) if len(sys.argv) > 2 else None):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for _ in range(200):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        time.sleep(0.05)
"""


def _wait_for(path: Path, events: int) -> None:
    """Until the trace holds so many events."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(optrace.OptraceError), optrace.load(path) as trace:
            if len(trace.events) >= events:
                return
        time.sleep(0.1)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Path]:
    """A trace that grows by thousands of events a second."""
    path = tmp_path / "live.optrace"
    with subprocess.Popen([sys.executable, "-c", RECORD, str(path)]) as process:
        try:
            _wait_for(path, 1000)
            yield path
        finally:
            process.kill()


@pytest.mark.slow
async def test_the_end_is_followed_while_another_process_writes(recording: Path, opened: Opened) -> None:
    async with opened(recording) as (app, pilot):
        await press(app, pilot, "end")
        places = [app.session.seq]
        for _ in range(200):
            await pilot.pause(0.05)
            if app.session.seq != places[-1]:
                places.append(app.session.seq)
            if len(places) > 3:
                break
        assert len(places) > 3
        assert places == sorted(places)
        assert app.session.seq == app.session.cursor.last
        # A search that looks at everything ends although the trace grows, and the trace is taken in after it.
        text = await press(app, pilot, "C", *"loss < -1", "enter")
        assert "holds nowhere earlier" in text
        grown, place = app.session.cursor.last, app.session.seq
        await pilot.press("left")
        stayed = app.session.seq
        assert stayed in (place - 1, app.session.cursor.last - 1)
        for _ in range(200):
            await pilot.pause(0.05)
            if app.session.cursor.last > grown:
                break
        assert app.session.cursor.last > grown
        assert app.session.seq == stayed
        assert "● live" not in screen_text(app).splitlines()[0]


@pytest.mark.slow
async def test_a_long_trace_is_followed_to_its_end(tmp_path: Path, opened: Opened) -> None:
    path, record = tmp_path / "live.optrace", RECORD.replace("time.sleep(0.05)", "pass")
    with subprocess.Popen([sys.executable, "-c", record.replace("+ 60", "+ 40"), str(path)]) as process:
        try:
            _wait_for(path, 1)
            async with opened(path) as (app, pilot):
                await pilot.press("end")
                session, counts = app.session, [0]
                while process.poll() is None:
                    await pilot.press("2", "1")  # it answers meanwhile
                    assert session.seq == session.cursor.last
                    if session.cursor.last > counts[-1]:
                        counts.append(session.cursor.last)
                    await pilot.pause(0.2)
                for _ in range(300):
                    if session.trace.complete:
                        break
                    await pilot.pause(0.1)
                assert len(counts) > 10
                assert session.trace.complete
                with optrace.load(path) as whole:
                    assert len(session.trace.events) == len(whole.events) > 100_000
                assert session.seq == session.cursor.last
                text = await press(app, pilot, "home")
                assert "0:0" in text or "iteration 0" in text
        finally:
            process.kill()


@pytest.mark.slow
async def test_the_end_is_followed_while_older_iterations_are_let_go(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "live.optrace"
    with subprocess.Popen([sys.executable, "-c", RECORD, str(path), "400"]) as process:
        try:
            base = 0
            while base < 1000:
                time.sleep(0.1)
                with contextlib.suppress(optrace.OptraceError), optrace.load(path) as trace:
                    base = trace.base
            async with opened(path) as (app, pilot):
                await press(app, pilot, "end")
                places = [app.session.event.position]
                for _ in range(400):
                    await pilot.pause(0.05)
                    if app.session.event.position != places[-1]:
                        places.append(app.session.event.position)
                    if len(places) > 5 and app.session.trace.base > base + 3000:
                        break
                assert len(places) > 5
                assert places == sorted(places)
                session = app.session
                assert session.event.iteration * 3 + session.event.index == session.seq + session.trace.base
                assert "cannot be read" not in screen_text(app)
        finally:
            process.kill()
