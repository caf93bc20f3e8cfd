"""Somebody new steps through the demo without zero_grad: what does the screen tell?"""

from __future__ import annotations

from pathlib import Path

import pytest

from optrace.tui.app import ViewApp
from optrace.tui.core.spans import plain
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text


def story(app: ViewApp) -> str:
    """What happened, as one text."""
    return " ".join(" ".join(plain(line) for line in app.main.story._lines).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_missing_zero_grad_is_told_and_seen(no_zero: Path, opened: Opened, size: tuple[int, int]) -> None:
    async with opened(no_zero, size=size) as (app, pilot):
        text = screen_text(app)
        assert "1 error" in text
        assert "backward added a gradient to x" in text
        await press(app, pilot, "right", "right")
        text = story(app)
        assert "67 % of what is there now" in text
        assert "already applied" in text
        assert "300 = 200 from 0:0, already applied, + 100 from this backward" in text
        assert "▓" in screen_text(app)
        assert "1 stale" in screen_text(app)
        assert "OT101 missing zero grad" in await press(app, pilot, "n")


async def test_a_step_shows_before_and_after(no_zero: Path, opened: Opened) -> None:
    async with opened(no_zero) as (app, pilot):
        text = await press(app, pilot, "right", "2")
        assert "◆ 1.41" in text
        assert "1 → 0.9990000" in text
        assert "✓ equals the recorded value" in text


async def test_a_cleared_gradient_vanishes(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        text = await press(app, pilot, "right", "right", "right")
        assert "zero_grad cleared the gradient of all 4" in text
        assert "· cleared" in text
