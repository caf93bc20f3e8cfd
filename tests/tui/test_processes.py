"""A run of several processes on the screen: turning from rank to rank, and one event on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import optrace
from optrace.tui.screens.listing import Listing
from tests.tui.conftest import Opened
from tests.tui.drawing import click, press, screen_text, spots


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three ranks that begin alike and train each on its own data; the last one makes a turn less."""
    path = tmp_path_factory.mktemp("tui") / "train.optrace"
    for rank in range(3):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        meta = {"process_group": {"rank": rank, "size": 3, "backend": "gloo"}}
        with optrace.record(path / f"rank-{rank}", model=model, meta=meta):
            for turn in range(4 - (rank == 2)):
                optimizer.zero_grad()
                model(torch.full((1, 3), 1.0 + rank + turn)).square().sum().backward()
                optimizer.step()
    return path


async def test_the_same_place_on_the_next_rank(ranks: Path, opened: Opened) -> None:
    async with opened(ranks) as (app, pilot):
        assert "train.optrace/rank-0" in screen_text(app)
        first = app.session
        await press(app, pilot, "right_square_bracket", "right", "down", "2")
        text = await press(app, pilot, "r")
        assert "train.optrace/rank-1" in text
        assert app.session is not first
        assert app.session.position(app.session.seq) == "1:1"
        assert app.session.selected is not None
        assert app.session.selected.name == first.selected.name == "0.bias"  # type: ignore[union-attr]
        assert app.session.view.tab == "update"
        await press(app, pilot, "end")
        assert "train.optrace/rank-2" in await press(app, pilot, "r")
        assert app.session.position(app.session.seq) == "2:2"  # there is no 3:2
        assert "train.optrace/rank-0" in await press(app, pilot, "r")
        assert app.session is first
        assert "train.optrace/rank-2" in await press(app, pilot, "R")
        app.close()


async def test_findings_between_ranks_are_on_each_of_them(ranks: Path, opened: Opened) -> None:
    async with opened(ranks) as (app, pilot):
        for _ in range(3):
            assert [finding.code for finding in app.session.findings.all] == ["OT701"]
            await press(app, pilot, "r")
        await press(app, pilot, "f")
        assert "in rank 0 to rank 2" in screen_text(app)
        app.close()


async def test_side_by_side(ranks: Path, opened: Opened) -> None:
    async with opened(ranks) as (app, pilot):
        losses = [trace.event("0:1").loss for trace in app.session.whole.processes.values()]
        await press(app, pilot, "right")
        text = await press(app, pilot, "a")
        for rank, loss in enumerate(losses):
            (line,) = [line for line in text.splitlines() if f"rank-{rank} " in line and "0:1" in line]
            assert float(line.split("loss ")[1].split()[0]) == pytest.approx(loss, rel=1e-5)
        window = [line for line in text.splitlines() if "equal" in line or "differ" in line]  # what is behind it, not
        weight, gradient = (line for line in window if " 0.weight " in line)
        assert "param" in weight
        assert "equal" in weight
        first, other = (
            trace.value("0.weight", "grad", "0:1") for trace in list(app.session.whole.processes.values())[::2]
        )
        assert f"differ by up to {abs(first - other).max():.3g}" in gradient
        await press(app, pilot, "escape", "end")
        assert "has no event 3:2" in await press(app, pilot, "a")
        app.close()


async def test_a_run_of_one_process(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):
        for key in ("r", "R", "a"):
            assert "recorded in one process" in await press(app, pilot, key)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_mouse(ranks: Path, opened: Opened, size: tuple[int, int]) -> None:
    async with opened(ranks, size=size) as (app, pilot):

        async def do(action: str) -> str:
            spot = next(spot for spot in spots(app) if spot.action == action)
            return await click(app, pilot, spot.x, spot.y)

        for rank in (1, 2, 0):
            assert f"train.optrace/rank-{rank}" in await do("process(1)")
        await press(app, pilot, "right")
        await do("help")
        while not any(spot.action == "below('side_by_side')" for spot in spots(app)):
            await press(app, pilot, "pagedown")
        text = await do("below('side_by_side')")
        assert isinstance(app.screen, Listing)
        assert "Side by side" in text
        row = next(spot for spot in spots(app) if spot.text.startswith("1.bias"))
        await click(app, pilot, row.x, row.y)
        assert app.screen is app.main
        assert app.session.selected is not None
        assert app.session.selected.name == "1.bias"
        app.close()
