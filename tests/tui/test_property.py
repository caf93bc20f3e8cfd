"""So many steps on and as many back is the same screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

PAIRS = [("right", "left"), ("right_square_bracket", "left_square_bracket"), ("down", "up"), ("full_stop", "comma")]


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (180, 50)])
@pytest.mark.parametrize("tab", ["1", "2", "3", "4", "5"])
async def test_there_and_back(network: Path, opened: Opened, size: tuple[int, int], tab: str) -> None:
    async with opened(network, size=size) as (app, pilot):
        await press(app, pilot, tab, *["right"] * 5)
        before = screen_text(app)
        for there, back in PAIRS[:2]:
            for count in (1, 3):
                await press(app, pilot, *[there] * count)
                after = await press(app, pilot, *[back] * count)
                assert after == before, (there, count)


async def test_rows_and_slices(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        before = await press(app, pilot, "4", "right")
        for there, back in PAIRS[2:]:
            await press(app, pilot, there)
            assert await press(app, pilot, back) == before


async def test_uneven_iterations_keep_the_place(no_zero: Path, opened: Opened) -> None:
    async with opened(no_zero) as (app, pilot):
        await press(app, pilot, "right", "right_square_bracket", "left_square_bracket")
        assert app.session.position(app.session.seq) == "0:1"
