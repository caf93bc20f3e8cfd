"""Values drawn: heat maps, histograms, charts, kernels as tiles."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import optrace
from optrace.tui.core.canvas import Chart, Series, draw
from optrace.tui.core.session import Session
from optrace.tui.core.spans import plain
from optrace.tui.core.tabs import values
from optrace.tui.core.tiles import tiled


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.0),
        torch.empty(0),
        torch.empty(2, 0),
        torch.full((3,), float("nan")),
        torch.zeros(4, 4),
        torch.ones(300, 200),
        torch.arange(120.0).reshape(2, 3, 4, 5) - 60,
        torch.tensor([1.0, float("inf"), float("-inf"), float("nan")]),
        torch.tensor([1 + 2j, 3j]),
        torch.ones(5, dtype=torch.bfloat16),
        torch.tensor([1e308, -1e308], dtype=torch.float64),
    ],
)
def test_every_tensor_draws(tmp_path: Path, tensor: torch.Tensor) -> None:
    parameter = torch.nn.Parameter(tensor)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    with optrace.record(tmp_path / "v.optrace"):
        (parameter * 1).sum().abs().backward()
        optimizer.step()
    with optrace.load(tmp_path / "v.optrace") as trace:
        session = Session(trace)
        entry = next(iter(trace.parameters.values()))
        for kind, view in itertools.product(("param", "grad", "update"), values.VIEWS):
            look = values.Look(kind, view, (0,) * len(entry.shape))
            lines = values.lines(session.machine, entry, session.cursor.last, look, 70, 14)
            assert lines
            text = "\n".join(plain(line) for line in lines)
            assert all(len(line) <= 90 for line in text.splitlines())
            if kind == "param" and view != "histogram" and torch.isnan(tensor.abs().float()).any():
                assert "NN" in text or "nan" in text
        session.close()


def test_the_heat_map_reads_without_colour() -> None:
    spans = [values.heat(np.float32(value), 1.0, False) for value in (-1, -0.3, 0, 0.3, 1)]
    assert [span.text for span in spans] == ["−█", "−▒", " ·", "+▒", "+█"]
    assert values.heat(np.float32("nan"), 1.0, False).text == "NN"
    assert values.heat(np.float32("inf"), 1.0, False).text == "+∞"


def test_charts_have_ticks_a_cursor_and_a_way_back() -> None:
    numbers = np.arange(1000)
    chart = Chart((Series("a", numbers, numbers.astype(float), "series0"),), 0, 999, False, 500)
    lines = [plain(line) for line in draw(chart, 70, 12, str)]
    assert len(lines) == 12
    assert any("800┤" in line or "1000┤" in line for line in lines)
    assert any("┃" in line for line in lines)
    assert chart.event_at(9, 70) == 0
    assert chart.event_at(69, 70) == 999
    assert chart.event_at(3, 70) is None


def test_a_log_axis_has_decades_and_leaves_out_what_it_cannot_show() -> None:
    numbers = np.arange(5)
    chart = Chart((Series("a", numbers, np.array([1e-6, 1e-3, 0.0, 1.0, float("nan")]), "series0"),), 0, 4, True, None)
    lines = [plain(line) for line in draw(chart, 60, 12, str)]
    assert any("1e-6┤" in line for line in lines)
    assert any("1e0┤" in line for line in lines)
    nothing = Chart((Series("a", numbers, np.full(5, -1.0), "series0"),), 0, 4, True, None)
    assert "no finite value above 0" in plain(draw(nothing, 60, 12, str)[0])


@pytest.mark.parametrize("flat", [0.0, 5.0, -1e300, 1e-300])
def test_a_constant_draws(flat: float) -> None:
    chart = Chart((Series("a", np.arange(9), np.full(9, flat), "series0"),), 0, 8, False, 3)
    assert any(
        "⠤" in plain(line) or "⠒" in plain(line) or "⣀" in plain(line) or "⠉" in plain(line)
        for line in draw(chart, 60, 10, str)
    )


@pytest.mark.parametrize("lengths", [(8, 1, 3, 3), (16, 8, 3, 3), (2, 3, 4, 5), (7, 2, 2), (3, 40, 3, 3)])
def test_tiles_show_every_element_once(lengths: tuple[int, ...]) -> None:
    value = np.arange(np.prod(lengths)).reshape(lengths)
    tiles = tiled(lengths, 60, 2)
    assert tiles is not None
    everything = tiles.take(value, (0,) * len(lengths), (0, 0), tiles.rows, tiles.columns)
    assert tiles.columns * 2 <= 60
    assert sorted(int(cell) for row in everything for cell in row if cell is not None) == list(range(value.size))
    for place in np.ndindex(*lengths):
        row, column = tiles.cell(place)
        assert everything[row][column] == value[place]
        assert tiles.place(row, column, place) == place
        top, begin = tiles.window(place, 9, 14)
        assert top <= row < top + 9
        assert begin <= column < begin + 14


def test_the_cursor_walks_from_kernel_to_kernel() -> None:
    tiles = tiled((2, 3, 3, 3), 60, 2)
    assert tiles is not None
    assert tiles.step((0, 0, 0, 2), 0, 1) == (0, 1, 0, 0)
    assert tiles.step((0, 1, 0, 0), 0, -1) == (0, 0, 0, 2)
    assert tiles.step((0, 2, 2, 1), 1, 0) == (1, 2, 0, 1)
    assert tiles.step((1, 2, 2, 2), 1, 1) == (1, 2, 2, 2)
    assert tiles.turn((0, 2, 1, 1), 1) == (1, 0, 1, 1)
    assert tiled((300, 300), 60, 2) is None
    assert tiled((4, 64, 64), 60, 2) is None
