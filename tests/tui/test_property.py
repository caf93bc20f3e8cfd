"""So many steps on and as many back is the same screen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

import optrace
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


def generated(path: Path, chance: random.Random) -> None:
    """Some loop: two optimizers or one, gradients gathered over several backwards, marks, samples, gaps."""
    torch.manual_seed(chance.randrange(100))
    model = torch.nn.Sequential(torch.nn.Linear(20, 220), torch.nn.Linear(220, 2))
    kinds = chance.sample([torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop], 2)
    halves = [list(model[0].parameters()), list(model[1].parameters())]
    optimizers = [kind(half, lr=0.01) for kind, half in zip(kinds, halves, strict=True)]
    several, clears = chance.randint(1, 3), chance.random() < 0.7
    capture = chance.choice(["exact", "sampled", "stats"])
    with optrace.record(path, model=model, capture=capture, every=chance.choice([1, 1, 2, 3])):
        for turn in range(chance.randint(6, 14)):
            if clears:
                model.zero_grad()
            for _ in range(chance.randint(1, several)):
                model(torch.randn(4, 20)).square().sum().backward()
            if turn % 3 == 2:
                optrace.mark("phase", turn)
            for optimizer in optimizers[: chance.randint(1, 2)]:
                optimizer.step()


@pytest.mark.parametrize(
    "seed", [6, 10, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(16) if seed not in (6, 10))]
)
async def test_walks_through_generated_traces_lead_back(tmp_path: Path, opened: Opened, seed: int) -> None:
    chance = random.Random(seed)
    generated(tmp_path / "run.optrace", chance)
    async with opened(tmp_path / "run.optrace", size=chance.choice([(80, 24), (120, 36), (170, 46)])) as (app, pilot):
        iterations = app.session.trace.column("iteration")
        turns = sorted(set(iterations.tolist()))
        for _ in range(6):
            app.session.cursor.jump(chance.randrange(len(iterations)))
            app.session.choose(chance.randrange(len(app.session.rows)))
            before = await press(app, pilot, chance.choice("12345"))
            seq, turn = app.session.seq, turns.index(iterations[app.session.seq])
            for (there, back), most in zip(PAIRS[:2], (len(iterations) - 1 - seq, len(turns) - 1 - turn), strict=True):
                for on, off, room in ((there, back, most), (back, there, seq if there == "right" else turn)):
                    count = min(room, chance.randint(1, 7))
                    if count:
                        await press(app, pilot, *[on] * count)
                        assert await press(app, pilot, *[off] * count) == before, (seq, on, count)
