"""Pictures of the screen as text, at the three sizes. `OPTRACE_SNAPSHOTS=write pytest tests/tui` draws them anew."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pytest

from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

FOLDER = Path(__file__).parent / "snapshots"
SIZES = {"low": (80, 24), "middle": (120, 36), "wide": (200, 50)}
SCENES = {
    "start": (),
    "stale": ("right", "right"),
    "update": ("right", "right", "right", "2"),
    "state": ("end", "3"),
    "values": ("end", "4", "x"),
    "history": ("end", "5", "y"),
    "help": ("question_mark",),
    "findings": ("f",),
}


def compare(name: str, text: str) -> None:
    """Against the picture that is kept."""
    file = FOLDER / f"{name}.txt"
    text = re.sub(r" +$", "", text, flags=re.MULTILINE) + "\n"
    if os.environ.get("OPTRACE_SNAPSHOTS") == "write":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    difference = "\n".join(difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "drawn", lineterm=""))
    assert not difference, f"{name} looks different:\n{difference}"


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("size", SIZES)
async def test_the_demo_without_zero_grad(no_zero: Path, opened: Opened, size: str, scene: str) -> None:
    async with opened(no_zero, size=SIZES[size]) as (app, pilot):
        compare(f"{scene}-{size}", await press(app, pilot, *SCENES[scene]))


async def test_without_unicode(no_zero: Path, opened: Opened) -> None:
    async with opened(no_zero, ascii_only=True) as (app, pilot):
        await press(app, pilot, "right", "right")
        text = screen_text(app)
        compare("stale-ascii", text)
        assert text.isascii()


async def test_without_colour(no_zero: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(no_zero) as (app, pilot):
        await press(app, pilot, "right", "right", "4")
        strips = app.screen._compositor.render_strips()
        filtered = list(strips)
        for each in app._filters:
            filtered = [strip.apply_filter(each, app.screen.background_colors[1]) for strip in filtered]
        colours = {
            colour.name
            for strip in filtered
            for segment in strip
            if segment.style is not None
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None
        }
        assert colours <= {"default"}


@pytest.mark.parametrize("size", [(20, 5), (79, 23), (300, 80)])
async def test_any_size_draws(network: Path, opened: Opened, size: tuple[int, int]) -> None:
    async with opened(network, size=size) as (app, pilot):
        for key in ("1", "2", "3", "4", "5", "tab", "tab", "right"):
            text = await press(app, pilot, key)
            assert text.strip()


async def test_resizing_keeps_the_place(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        before = await press(app, pilot, "right", "right", "4")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.2)
        await pilot.resize_terminal(120, 36)
        await pilot.pause(0.2)
        assert await press(app, pilot) == before
