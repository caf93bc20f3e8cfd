"""Traces that cannot be read, that break while open, and that are still being written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

import optrace
from optrace.errors import DamagedError
from optrace.tui import app as app_module
from optrace.tui.core.readings import Readings
from optrace.tui.core.spans import plain
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text, settle


@pytest.mark.parametrize("what", ["missing", "file", "folder", "garbage", "without events"])
def test_bad_traces_are_refused_before_anything_is_drawn(tmp_path: Path, what: str) -> None:
    path = tmp_path / "bad.optrace"
    if what == "file":
        path.write_text("nothing")
    elif what == "folder":
        path.mkdir()
    elif what == "garbage":
        path.mkdir()
        (path / "index.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    elif what == "without events":
        with optrace.record(path):
            pass
    with pytest.raises(optrace.OptraceError) as raised:
        app_module.run(path)
    assert "\n" not in str(raised.value)


async def test_damage_while_open_is_told(network: Path, opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "damaged.optrace"
    shutil.copytree(network, path)
    bytes_ = bytearray((path / "tensors-0000.bin").read_bytes())
    async with opened(path) as (app, pilot):
        bytes_[:] = bytes(255 - b for b in bytes_)
        with open(path / "tensors-0000.bin", "r+b") as file:
            file.write(bytes_)
        app.session.trace._tensors._sound.clear()
        app.session.machine.readings._known.clear()
        text = await press(app, pilot, "end", "4")
        assert "damaged" in text
        assert "cannot be read" in text
        await press(app, pilot, "home", "q")
    assert app.return_code == 0


async def test_a_truncated_file_is_told(network: Path, opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "cut.optrace"
    shutil.copytree(network, path)
    async with opened(path) as (app, pilot):
        app.session.trace._tensors._sound.clear()
        app.session.machine.readings._known.clear()
        with open(path / "tensors-0000.bin", "r+b") as file:
            file.truncate(16)
        text = await press(app, pilot, "end")
        assert "cut off" in text or "damaged" in text


async def test_a_growing_trace_is_followed_until_a_step_back(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "growing.optrace"
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def turn(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()

    recording = optrace.record(path).start()
    try:
        turn(3)
        recording_seen = 0
        while recording_seen < 9:
            with optrace.load(path) as trace:
                recording_seen = len(trace.events)
        async with opened(path) as (app, pilot):
            text = await press(app, pilot, "end")
            assert app.session.follow
            assert "live" in text
            shown, selected = app.session.trace, app.session.selected
            turn(5)
            for _ in range(100):
                await pilot.pause(0.05)
                if app.session.seq == 23:
                    break
            assert app.session.seq == 23
            assert app.session.trace is not shown  # read by a thread, and whole when the screen turned to it
            assert len(shown.events) == 9
            assert selected is not None
            assert app.session.selected is app.session.trace.parameters[selected.name]
            await press(app, pilot, "left")
            assert not app.session.follow
            turn(2)
            await pilot.pause(0.8)
            assert app.session.seq == 22
            assert app.session.cursor.last > 23
            assert "● live" not in screen_text(app).splitlines()[0]
            await settle(app, pilot)
    finally:
        recording.stop()


async def test_a_trace_past_its_budget_says_what_is_sampled(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "budget.optrace"
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters())
    with optrace.record(path, model=model, capture="sampled"):
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.ones(4, 784)).square().sum().backward()
            optimizer.step()
    async with opened(path) as (app, pilot):
        await press(app, pilot, "end")
        for tab, words in (
            ("1", "Sampled: statistics and some elements"),
            ("2", "only a sample"),
            ("3", "sampled: statistics and at most"),
            ("4", "Sampled: "),
            ("5", "(sampled)"),
        ):
            text = await press(app, pilot, tab)
            assert words in text, tab
            assert "≈" in text, tab
        for key in ("4", "x", "x", "x", "v", "v", "v", "v", "v", "v", "5", "x", "x", "x", "x", "x"):
            await press(app, pilot, key)
        await press(app, pilot, "m", "home")
        assert "≈" in await press(app, pilot, "d")


@pytest.mark.parametrize("what", ["deleted", "replaced", pytest.param("cut off", marks=pytest.mark.slow)])
async def test_files_that_go_away_while_open_are_told(network: Path, opened: Opened, tmp_path: Path, what: str) -> None:
    path = tmp_path / "going.optrace"
    shutil.copytree(network, path)
    async with opened(path) as (app, pilot):
        if what == "deleted":
            shutil.rmtree(path)
        elif what == "replaced":
            shutil.rmtree(path)
            shutil.copytree(network, tmp_path / "other")
            shutil.copytree(network, path)
        else:
            with open(path / "events.bin", "r+b") as file:
                file.truncate(64)
        for _ in range(60):
            await pilot.pause(0.05)
            if what in screen_text(app):
                break
        text = screen_text(app)
        assert what in text.splitlines()[-1]
        assert ("damaged" if what == "cut off" else "the trace cannot be read") in text.splitlines()[0]
        await press(app, pilot, "right", "end", "4", "n", "home", "q")
    assert app.return_code == 0


async def test_no_share_is_told_of_sampled_gradients(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "stale.optrace"
    torch.manual_seed(0)
    model = torch.nn.Linear(784, 128)
    optimizer = torch.optim.Adam(model.parameters())
    with optrace.record(path, model=model, capture="sampled"):
        for _ in range(30):  # no zero_grad
            model(torch.ones(4, 784)).square().sum().backward()
            optimizer.step()
    async with opened(path, size=(180, 50)) as (app, pilot):
        assert app.session.trace.exactness("weight", "grad") == "sampled"
        await press(app, pilot, "end", "left")
        session = app.session
        words = " ".join(plain(line) for line in session.machine.story.of(session.seq, session.selected))
        assert "some of what is there now is old" in words
        assert "%" not in words
        assert "Only a sample of weight was kept here" in words
        assert "≈" in await press(app, pilot, "right")


async def test_numbers_before_are_marked_as_sampled_too(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "before.optrace"
    torch.manual_seed(0)
    model = torch.nn.Linear(784, 128)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with optrace.record(path, model=model, capture="sampled"):
        for _ in range(20):
            for _ in range(2):
                model(torch.randn(4, 784)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    async with opened(path, size=(180, 50)) as (app, pilot):
        text = await press(app, pilot, "end", "left", "left")  # the second backward of a window
        assert app.session.event.kind == "backward"
        assert re.search(r"norm ≈\S+ → ≈\S+   min", text)
        assert re.search(r"gradient norm ≈\S+ → ≈", text.replace("│", ""))


async def test_values_that_were_not_chosen_are_told(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "some.optrace"
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path, model=model, params=["1.*"]):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(3)).sum().backward()
            optimizer.step()
    async with opened(path) as (app, pilot):
        text = await press(app, pilot, "end", "left")
        assert app.session.selected is not None
        assert app.session.selected.name == "0.weight"
        assert "The new values of 0.weight were not kept" in " ".join(text.replace("│", " ").split())
        assert "norm none → not kept" in text


async def test_a_pane_that_cannot_be_drawn_is_not_tried_without_end(
    network: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def unreadable(*where: object) -> None:
        nonlocal tried
        tried += 1
        raise DamagedError("a file is damaged")

    monkeypatch.setattr(Readings, "stats", unreadable)
    async with opened(network) as (app, pilot):
        before = tried
        await pilot.pause(0.5)
        assert before
        assert tried == before
        assert "a file is damaged" in screen_text(app)
