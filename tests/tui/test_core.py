"""What is shown, without a terminal."""

from __future__ import annotations

import contextlib
import gc
import json
import sqlite3
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import optrace
from optrace.tui.core.canvas import Chart, Series, draw
from optrace.tui.core.conditions import Condition, ConditionError, Progress, complete, parse, search
from optrace.tui.core.cursor import Cursor
from optrace.tui.core.findings import Findings, find
from optrace.tui.core.numerals import short
from optrace.tui.core.parts import FRESH, STALE, USED
from optrace.tui.core.session import Session
from optrace.tui.core.spans import cells, cut, cut_middle, fit, plain, wrap
from optrace.tui.core.tabs import gradient, values
from optrace.tui.core.tiles import tiled


def test_the_core_imports_neither_textual_nor_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, optrace.tui.core as core\n"
        "for found in pkgutil.walk_packages(core.__path__, core.__name__ + '.'): importlib.import_module(found.name)\n"
        "sys.exit(bool({'textual', 'torch', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_opening_the_app_does_not_import_torch() -> None:
    code = "import sys, optrace.tui.app, optrace.tui.learn.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.83, "1.83"),
        (300.0, "300"),
        (0.0, "0"),
        (-0.00001, "−1.0e-5"),
        (float("nan"), "nan"),
        (float("-inf"), "−inf"),
        (None, "–"),
    ],
)
def test_short_numbers(value: float | None, expected: str) -> None:
    assert short(value) == expected


def test_text_is_cut_to_columns() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert len(cut_middle("encoder.layer.0.attention.weight", 12)) == 12
    assert cut_middle("block_1_日本語.weight", 14) == "block_….weight"
    assert all(cells(cut_middle("日本語" * 9, room)) <= room for room in range(30))
    assert plain(fit([*_line("ab"), *_line("日本語")], 6)) == "ab日…" + " "
    assert [plain(line) for line in wrap(_line("one two three"), 7)] == ["one two", "three"]


def _line(text: str):  # type: ignore[no-untyped-def]
    from optrace.tui.core.spans import Span

    return [Span(text)]


def test_a_clipped_gradient_is_not_said_to_be_the_sum_of_its_contributions(tmp_path: Path) -> None:
    x = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.5)
    with optrace.record(tmp_path / "clipped.optrace"):
        for slope in (64.0, 32.0):
            (slope * x).sum().backward()
            torch.nn.utils.clip_grad_value_([x], 16.0)
        optimizer.step()
    with optrace.load(tmp_path / "clipped.optrace") as trace:
        machine = Session(trace).machine
        x = trace.parameter("x")
        sums = [plain(gradient.lines(machine, x, seq, (0,), 66)[-1]) for seq in range(4)]
        assert [text.removeprefix("element [0]  ") for text in sums] == [
            "64 = 64",
            "64 − 48 clipped = 16",
            "64 − 48 clipped + 32 = 48",
            "64 − 48 clipped + 32 − 32 clipped = 16",
        ]
        tab = "\n".join(plain(line) for line in gradient.lines(machine, x, 3, (0,), 66))
        assert "at 0:1      clipped: what was there × 0.250" in tab
        assert "at 0:3      clipped: what was there × 0.333" in tab
        told = plain(machine.story.of(2, x)[-1])
        assert told == "x: 48, made of 64 from 0:0, 32 from this backward, clipped at 0:1 in between"


def test_contributions_and_their_fates(no_zero: Path) -> None:
    with optrace.load(no_zero) as trace:
        session = Session(trace)
        x = trace.parameter("x")
        fates = [[part.fate for part in session.machine.parts.at(x, seq).parts] for seq in range(4)]
        assert fates == [[FRESH], [USED], [STALE, FRESH], [STALE, USED]]
        assert session.machine.parts.at(x, 2).stale_share == pytest.approx(2 / 3)
        contributions, stale = session.machine.parts.counts(x, np.arange(4))
        assert contributions.tolist() == [1, 1, 2, 2]
        assert stale.tolist() == [session.machine.parts.at(x, seq).stale for seq in range(4)]
        session.close()


@pytest.mark.parametrize(("graph", "told"), [(True, [False, True, True]), (False, [False, False, False])])
def test_a_backward_tells_of_the_graphs_that_are_still_alive(tmp_path: Path, graph: bool, told: list[bool]) -> None:
    x = torch.ones(1, requires_grad=True)
    total = 0.0
    with optrace.record(tmp_path / "g.optrace"):
        for _ in told:
            loss = (x * 2).sum()
            loss.backward()
            total += loss if graph else loss.item()
    with optrace.load(tmp_path / "g.optrace") as trace:
        session = Session(trace)
        session.machine.prepare()
        stories = [session.machine.story.of(event.seq, None) for event in trace.events]
        assert [any("loss graphs are alive" in plain(line) for line in story) for story in stories] == told
        session.close()


def test_cursor_remembers_where_it_was(network: Path) -> None:
    with optrace.load(network) as trace:
        cursor = Cursor(trace)
        cursor.jump(10)
        cursor.jump(20)
        assert cursor.back()
        assert cursor.seq == 10
        with pytest.raises(optrace.OptraceError, match="no place"):
            cursor.parse("somewhere")
        with pytest.raises(optrace.OptraceError, match="past the end"):
            cursor.parse("101%")


# Conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind == "step"', 2),
        ("loss > 0 and iteration >= 2", 7),
        ("isnan(loss)", 28),
        ("not isnan(loss) and loss > 0", 1),
        ('param("2.weight").grad_norm > 0', 1),
        ('param("2.weight").changed', 2),
        ("1 < iteration <= 2", 6),
        ("lr == 0.01", 2),
        ("nonfinite > 0", 28),
        ("abs(-iteration) == 4", 12),
        ("iteration % 7 == 3 or False", 9),
        ("loss != 0", 1),
        ("finding", None),
        ('param("2.weight").stale > 0', None),
        ('param("2.weight").contributions == 1', 1),
        ("loss != loss", 28),
        ("grad_norm == 0", 3),
        ('param("2.weight").grad_norm < 0', None),
        ("line > 0 and seq == 5", 5),
        ("max(iteration, index) == 2", 2),
    ],
)
def test_conditions_find_the_first_event(network: Path, text: str, expected: int | None) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        condition = parse(text, trace)
        assert search(session.machine, condition, 0, True) == expected
        if expected is not None and expected < 29:
            assert search(session.machine, condition, expected + 1, False) == expected
        session.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loss >",
        "__import__('os').system('true')",
        "loss.__class__",
        "(lambda: 1)()",
        "[x for x in loss]",
        "loss = 3",
        "grad_nrm > 1",
        'kind == "bakward"',
        'param("nope").stale',
        'param("2.weight").nope',
        "isnan()",
        "param",
        "loss > 1 if True else 0",
        "a" * 600,
        "loss ** 99999",
        "f'{loss}'",
        "9 << 99999",
        "param(loss).stale",
        "loss[0]",
        "(" * 300,
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(network: Path, text: str) -> None:
    with optrace.load(network) as trace, pytest.raises(ConditionError) as raised:
        parse(text, trace)
    assert "\n" not in str(raised.value)


def test_words_and_numbers_do_not_compare(network: Path) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        for text in ("kind", "loss > kind"):
            with pytest.raises(ConditionError):
                search(session.machine, parse(text, trace), 0, True)
        session.close()


def test_a_search_reports_and_stops(network: Path) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        seen: list[Progress] = []
        assert search(session.machine, parse("loss < -1"), 0, True, None, seen.append) is None
        assert seen[-1].looked >= seen[-1].total
        stop = threading.Event()
        stop.set()
        assert search(session.machine, parse("loss > -1"), 0, True, stop) is None
        session.close()


def test_completion() -> None:
    assert [whole for whole, _ in complete("gr")] == ["grad_norm"]
    assert [whole for whole, _ in complete('kind == "sc')] == ['kind == "scheduler_step"', 'kind == "scaler_update"']
    assert ('param("a").stale', "how many contributions in its gradient were applied before") in complete(
        'param("a").st'
    )
    assert complete("loss > 3 and") == []


def test_conditions_are_their_text() -> None:
    assert str(parse("loss > 3")) == "loss > 3"
    assert isinstance(parse("1"), Condition)


# Values


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
@pytest.mark.parametrize("view", values.VIEWS)
def test_every_tensor_draws(tmp_path: Path, tensor: torch.Tensor, view: str) -> None:
    parameter = torch.nn.Parameter(tensor)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    with optrace.record(tmp_path / "v.optrace"):
        (parameter * 1).sum().abs().backward()
        optimizer.step()
    with optrace.load(tmp_path / "v.optrace") as trace:
        session = Session(trace)
        entry = next(iter(trace.parameters.values()))
        for kind in ("param", "grad", "update"):
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


# Charts


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


# Findings


@pytest.fixture(scope="module")
def stale_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 iterations without zero_grad."""
    path = tmp_path_factory.mktemp("findings") / "stale.optrace"
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1e-4)
    with optrace.record(path):
        for _ in range(200):
            weight.square().sum().backward()
            optimizer.step()
    return path


def test_every_event_of_a_finding_is_marked(stale_run: Path) -> None:
    with optrace.load(stale_run) as trace:
        session = Session(trace)
        session.findings = found = find(trace)
        stale = next(finding for finding in found.all if finding.code == "OT101")
        assert stale.events.tolist() == list(range(3, 400, 2))
        assert found.marked(10, 14) == {11, 13}
        strip = plain(session.machine.timeline.overview(200, 120, found, None))
        assert strip.count("●") == 1
        assert strip.count("•") == session.machine.timeline.strip_width(120) - 2  # but for the cursor's column
        lanes = session.machine.timeline.lanes(200, 120, 1, found)[0]
        assert all(("finding-mark" in span.role) == (span.text == "S") for span in lanes if span.text in "BS")
        session.close()


def test_events_that_cannot_be_told_are_drawn_as_a_stretch(stale_run: Path) -> None:
    with optrace.load(stale_run) as trace:
        found = find(trace)
        whole = next(finding for finding in found.all if finding.code == "OT101")
        some = Findings([replace(whole, events=whole.events[[0, -1]])])
        session = Session(trace)
        strip = plain(session.machine.timeline.overview(200, 120, some, None))
        assert (strip.count("●"), strip.count("•")) == (1, 1)
        assert strip.count("╌") > 20
        session.close()


# Kernels


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


def test_sizes_that_a_worker_computes_are_shown_when_they_are_there(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(300, 300))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with optrace.record(tmp_path / "large.optrace"):
        for _ in range(2):
            weight.sum().backward()
            optimizer.step()
    with optrace.load(tmp_path / "large.optrace") as trace:
        ready = threading.Event()
        session = Session(trace, ready.set)
        first = session.machine.parts.at(trace.parameter("weight"), 0)
        assert [part.norm for part in first.parts] == [None]
        assert ready.wait(20)
        assert [part.norm for part in session.machine.parts.at(trace.parameter("weight"), 0).parts] == [300.0]
        session.close()


def test_a_step_that_makes_a_parameter_nan_says_so(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(20.0))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with optrace.record(tmp_path / "nan.optrace"):
        (weight.sum() * float("nan")).backward()
        optimizer.step()
    with optrace.load(tmp_path / "nan.optrace") as trace:
        session = Session(trace)
        words = " ".join(plain(line) for line in session.machine.story.of(1, session.selected))
        assert "weight is no longer finite" in words
        session.close()


def test_a_trace_that_was_checked_is_let_go(network: Path) -> None:
    def checked() -> tuple[Findings, weakref.ref[optrace.Trace]]:
        with optrace.load(network) as trace:
            return find(trace), weakref.ref(trace)

    findings, trace = checked()
    gc.collect()
    assert len(findings)
    assert trace() is None


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        (
            {"kept": "OT401 non-finite-loss at train.py:12"},
            "to keep what it held: OT401 non-finite-loss at train.py:12.",
        ),
        ({"failure": "No space left on device"}, "ended: No space left on device."),
        ({"raised": "RuntimeError"}, "After this the script ended by RuntimeError."),
        ({"ended": None}, "After this its process was killed."),
        ({}, None),
    ],
)
def test_the_last_event_tells_how_the_recording_ended(tmp_path: Path, meta: dict[str, str], told: str | None) -> None:
    path = tmp_path / "run.optrace"
    weight = torch.ones(1, requires_grad=True)
    with optrace.record(path):
        for _ in range(2):
            weight.backward()
    (path / "index.xxh3").unlink()
    with contextlib.closing(sqlite3.connect(path / "index.sqlite")) as index, index:
        for key, value in meta.items():
            if value is None:
                index.execute("DELETE FROM meta WHERE key = ?", (key,))
                index.execute("UPDATE meta SET value = ? WHERE key = 'pid'", (str(2**22 + 1),))  # nobody has it
            else:
                index.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
    with optrace.load(path) as trace:
        session = Session(trace)
        session.machine.prepare()
        stories = ["\n".join(map(plain, session.machine.story.of(seq, None))) for seq in range(2)]
        session.close()
    assert "ended" not in stories[0]
    if told is None:
        assert "ended" not in stories[1]
        assert "killed" not in stories[1]
    else:
        assert stories[1].endswith(told)
