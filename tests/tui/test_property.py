"""So many steps on and as many back is the same screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

PAIRS = [("right", "left"), ("right_square_bracket", "left_square_bracket"), ("down", "up"), ("full_stop", "comma")]


QUICK = {("1", (80, 24)), ("2", (120, 36)), ("3", (180, 50)), ("4", (80, 24)), ("5", (120, 36))}
EVERY = [(tab, size) for tab in "12345" for size in ((80, 24), (120, 36), (180, 50))]


@pytest.mark.parametrize(
    ("tab", "size"), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in EVERY]
)
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
