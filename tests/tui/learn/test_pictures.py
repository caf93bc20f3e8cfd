"""Pictures of the lessons' screens as text, at the three sizes. `OPTRACE_SNAPSHOTS=write pytest` draws them anew."""

from __future__ import annotations

import pytest

from tests.tui.learn.conftest import Led, Started, press, screen_text
from tests.tui.test_snapshots import SIZES, compare

ASKED = ("enter", "enter")
CHOICE = (*ASKED, "5", "enter", "enter")
SCENES = {
    "introduction": (),
    "typing": (*ASKED, "5"),
    "wrong": (*ASKED, "5", "enter"),
    "choosing": (*CHOICE, "down"),
    "right": (*CHOICE, "2"),
    "away": (*CHOICE, "2", "left"),
    "repaired": (*CHOICE, "2", "enter"),
    "comparison": (*CHOICE, "2", "enter", "enter"),
}
EACH = [pytest.param(size, marks=pytest.mark.slow) if size == "wide" else size for size in SIZES]


@pytest.mark.parametrize("size", EACH)
async def test_the_list(started: Started, size: str) -> None:
    async with started(size=SIZES[size]) as (app, _):
        compare(f"learn-list-{size}", screen_text(app))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("size", EACH)
async def test_a_lesson(led: Led, size: str, scene: str) -> None:
    async with led(size=SIZES[size]) as (app, pilot):
        compare(f"learn-{scene}-{size}", await press(app, pilot, *SCENES[scene]))


@pytest.mark.parametrize("size", EACH)
async def test_a_question_in_chinese(led: Led, size: str) -> None:
    async with led(size=SIZES[size], language="zh-CN") as (app, _):
        compare(f"learn-chinese-{size}", screen_text(app))


async def test_the_parts_of_the_comparison_at_80_columns(led: Led) -> None:
    async with led(size=SIZES["low"]) as (app, pilot):
        await press(app, pilot, *SCENES["comparison"])
        for part in ("curves", "findings", "conclusion"):
            compare(f"learn-comparison-{part}", await press(app, pilot, "tab"))


async def test_without_unicode(led: Led) -> None:
    async with led(ascii_only=True) as (app, pilot):
        for key in SCENES["comparison"]:
            assert (await press(app, pilot, key)).isascii()


@pytest.mark.parametrize("size", [(20, 6), (300, 80)])
async def test_any_size_draws(led: Led, size: tuple[int, int]) -> None:
    async with led(size=size) as (app, pilot):
        for key in (*SCENES["comparison"], "tab", "tab", "q"):
            assert (await press(app, pilot, key)).strip()
