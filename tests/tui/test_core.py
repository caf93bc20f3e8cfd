"""What is said and marked, without a terminal."""

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
from optrace.tui.core.cursor import Cursor
from optrace.tui.core.findings import Findings, find
from optrace.tui.core.numerals import short
from optrace.tui.core.parts import FRESH, STALE, USED
from optrace.tui.core.session import Session
from optrace.tui.core.spans import cells, cut, cut_middle, fit, plain, wrap
from optrace.tui.core.tabs import gradient


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
