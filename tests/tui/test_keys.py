"""Every key of the screen."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from textual.binding import Binding

import optrace
from optrace.tui.core.readings import Readings
from optrace.tui.screens.help import HELP
from optrace.tui.screens.main import MainScreen
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text, settle


async def test_events_and_iterations(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        session = app.session
        for keys, expected in (
            (("right",), 1), (("l", "l"), 3), (("left",), 2), (("h",), 1), (("right_square_bracket",), 4),
            (("right_square_bracket",), 7), (("left_square_bracket",), 4), (("end",), 29), (("home",), 0),
        ):  # fmt: skip
            await press(app, pilot, *keys)
            assert session.seq == expected, keys
        assert "first event" in await press(app, pilot, "left")


async def test_findings_and_their_list(no_zero: Path, opened: Opened) -> None:
    async with opened(no_zero) as (app, pilot):
        text = await press(app, pilot, "n")
        assert app.session.position(app.session.seq) == "1:1"
        assert "OT101" in text
        assert "zero_grad()" in text
        await press(app, pilot, "home", "f")
        assert "missing zero grad" in screen_text(app)
        await press(app, pilot, "enter")
        assert app.session.position(app.session.seq) == "1:1"
        assert "No later finding" in await press(app, pilot, "n")
        await press(app, pilot, "end", "N")
        assert app.session.findings.numbers


async def test_who_wrote_this(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await press(app, pilot, "2", "w")
        assert app.session.event.kind == "step"
        first = app.session.seq
        await press(app, pilot, "w")
        assert app.session.seq == first + 3
        await press(app, pilot, "W")
        assert app.session.seq == first
        await press(app, pilot, "1", "w")
        assert app.session.event.kind == "zero_grad"


async def test_conditions(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        text = await press(app, pilot, "c", *"isnan(loss)")
        assert "Run to where" in text
        text = await press(app, pilot, "enter")
        assert app.session.event.kind == "backward"
        assert app.session.event.iteration == 9
        assert "holds here" in text
        assert "holds nowhere" in await press(app, pilot, "c")
        await press(app, pilot, "b")
        assert "isnan(loss)" in screen_text(app)
        await press(app, pilot, "a", *'kind == "st', "tab", "enter")
        assert 'kind == "step"' in screen_text(app)
        await press(app, pilot, "down", "enter", "home", "C")
        assert app.session.seq == 0
        await press(app, pilot, "b", "delete", "escape", "b", "d", "escape")
        assert not app.session.view.conditions


async def test_a_wrong_condition_is_explained_and_can_be_mended(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        text = await press(app, pilot, "c", *"grad_nrm > 1", "enter")
        assert "there is no 'grad_nrm'; did you mean 'grad_norm'" in text
        await press(app, pilot, "escape")
        assert app.screen is app.main


async def test_go_to(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        for typed, expected in (("4:2", 14), ("3", 9), ("50%", 14), ("#7", 7), ("end", 29)):
            keys = [{":": "colon", "%": "percent_sign", "#": "number_sign"}.get(letter, letter) for letter in typed]
            await press(app, pilot, "g", *keys, "enter")
            assert app.session.seq == expected, typed
        assert "there is no iteration 99" in await press(app, pilot, "g", "9", "9", "enter")
        await press(app, pilot, "escape", "apostrophe")
        assert app.session.seq == 7
        await press(app, pilot, "g", *"[1,0,2,1]", "enter")
        assert app.session.place == (1, 0, 2, 1)


async def test_marks(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        assert "Set a mark" in await press(app, pilot, "d")
        await press(app, pilot, "m", "end")
        assert "◆" in screen_text(app)
        text = await press(app, pilot, "d")
        assert "mark 0:0" in text
        assert "here 9:2" in text
        await press(app, pilot, "escape", "home", "m")
        assert app.session.mark is None


async def test_a_comparison_does_not_hold_up_keys_and_can_be_stopped(
    many: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, looking, go_on = Readings.array, threading.Event(), threading.Event()

    def slowly(self: Readings, *where: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            looking.set()
            go_on.wait(10)
        return read(self, *where)

    async with opened(many) as (app, pilot):
        await press(app, pilot, "m", "end")
        monkeypatch.setattr(Readings, "array", slowly)
        await pilot.press("d")
        assert await asyncio.to_thread(looking.wait, 10)
        await pilot.pause()
        assert "comparing 0:0 with 2:2" in screen_text(app)
        await pilot.press("escape")
        assert "Stopped" in screen_text(app)
        go_on.set()
        await settle(app, pilot)
        assert app.screen is app.main
        text = await press(app, pilot, "d")
        assert "mark 0:0" in text
        assert "… and 4500 more" in await press(app, pilot, "end", *["pagedown"] * 30)


async def test_a_comparison_reads_large_values(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "large.optrace"
    weight = torch.nn.Parameter(torch.ones(300, 300))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    with optrace.record(path):
        weight.sum().backward()
        optimizer.step()
    async with opened(path) as (app, pilot):
        text = await press(app, pilot, "m", "end", "d")
        assert "300 → 150" in text
        assert "300 → 300" in text


async def test_filter_and_sort(many: Path, opened: Opened) -> None:
    async with opened(many) as (app, pilot):
        await press(app, pilot, "slash", *"layer0042")
        assert "1 of 5000" in screen_text(app)
        await press(app, pilot, "enter")
        assert app.session.selected is not None
        assert "0042" in app.session.selected.name
        await press(app, pilot, "escape")
        assert "5000 of 5000" in screen_text(app)
        for _ in range(3):
            await press(app, pilot, "o")
        assert app.session.view.sort == "norm"
        await press(app, pilot, "pagedown", "down", "j", "k", "up", "pageup")


async def test_tabs_values_and_elements(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await press(app, pilot, "end")
        for key, word in (("1", "norm"), ("2", "element"), ("3", "exp_avg"), ("4", "heat map"), ("5", "linear")):
            assert word in await press(app, pilot, key), key
        await press(app, pilot, "tab")
        assert app.session.view.tab == "gradient"
        await press(app, pilot, "shift+tab", "y")
        assert app.session.view.log
        await press(app, pilot, "x", "4", "v", "v", "V", "x", "x", "x")
        await press(app, pilot, "J", "L", "shift+down", "full_stop")
        assert app.session.place == (1, 0, 2, 1)
        await press(app, pilot, "K", "H", "comma")
        assert app.session.place == (0, 0, 1, 0)


async def test_play(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await pilot.press("plus", "minus", "space")
        assert app.main.playing
        assert "playing" in screen_text(app)
        await pilot.pause(0.6)
        assert app.session.seq > 0
        await press(app, pilot, "minus", "space")
        assert not app.main.playing


async def test_a_picture_is_saved(
    network: Path, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(network) as (app, pilot):
        text = await press(app, pilot, "s")
    assert "Saved" in text
    assert (tmp_path / "optrace-0-0.svg").read_text(encoding="utf-8").startswith("<svg")


async def test_help_theme_palette_and_quit(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        assert "Through the run" in await press(app, pilot, "question_mark")
        await press(app, pilot, "down", "pagedown", "escape", "t")
        assert app.theme == "optrace-light"
        await press(app, pilot, "t", "less_than_sign", "greater_than_sign")
        assert app.main.source.shift == 8
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"Next iter")
        await pilot.press("escape")
        await pilot.press("q")
    assert app.return_code == 0


def test_every_key_is_named_in_the_help() -> None:
    """Each binding has a description for the command palette; help speaks of its keys."""
    told = " ".join(f"{key} {words}" for _, keys in HELP for key, words in keys)
    names = {
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "apostrophe": "'",
        "slash": "/",
        "question_mark": "?",
        "plus": "+",
        "minus": "−",
        "comma": ",",
        "full_stop": ".",
        "less_than_sign": "<",
        "greater_than_sign": ">",
        "left": "←",
        "right": "→",
        "up": "↑",
        "down": "↓",
        "escape": "Esc",
        "pagedown": "PgDn",
        "pageup": "PgUp",
        "shift+tab": "Tab",
        "tab": "Tab",
        "ctrl+down": "Ctrl+↓",
        "ctrl+up": "Ctrl+↑",
    }
    for binding in MainScreen.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.description
        key = binding.key.split(",")[0]
        shown = names.get(key, key)
        assert shown.isdigit() or shown.lower() in told.lower(), binding


async def test_clicks(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await pilot.click("#timeline", offset=(50, 2))
        await settle(app, pilot)
        assert app.session.seq > 5
        await pilot.click("#table", offset=(5, 3))
        await settle(app, pilot)
        assert app.session.row == 1
        await pilot.click("#inspector", offset=(18, 1))
        await settle(app, pilot)
        assert app.session.view.tab == "update"
        await press(app, pilot, "5")
        await pilot.click("#inspector", offset=(60, 8))
        await settle(app, pilot)
        assert app.session.seq > 10
        await press(app, pilot, "4", "home", "right")
        await pilot.click("#inspector", offset=(10, 6))
        await settle(app, pilot)
        await pilot.click("#topbar", offset=(115, 0))
        await settle(app, pilot)
        assert app.screen is not app.main


async def test_the_palette_does_what_is_chosen(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"Iteration on")
        await pilot.pause(0.5)
        await pilot.press("enter")
        for _ in range(40):
            await pilot.pause(0.05)
            if app.screen is app.main and app.session.seq:
                break
        assert app.session.position(app.session.seq) == "1:0"


async def test_dragging_along_the_timeline(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        await press(app, pilot, "right", "right")
        await pilot.mouse_down("#timeline", offset=(20, 2))
        await pilot.pause()
        first = app.session.seq
        assert first > 2
        await pilot.hover("#timeline", offset=(60, 2))
        await pilot.pause()
        second = app.session.seq
        assert second > first
        await pilot.hover("#timeline", offset=(119, 2))
        await pilot.pause()
        assert app.session.seq == app.session.cursor.last
        await pilot.mouse_up("#timeline", offset=(119, 2))
        await pilot.hover("#timeline", offset=(20, 2))
        await settle(app, pilot)
        assert app.session.seq == app.session.cursor.last
        await press(app, pilot, "apostrophe")  # a drag is one jump
        assert app.session.seq == 2
