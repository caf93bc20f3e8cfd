"""The History tab: a number at every event, or the reason why there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optrace
from optrace.trace.format import Op
from optrace.trace.model import Parameter
from optrace.tui.core.machine import Machine
from optrace.tui.core.spans import plain
from optrace.tui.core.tabs import history
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

REASONS = {"none", "not kept", "not taken"}
RUNS: dict[str, dict[str, Any]] = {
    "exact": {},
    "sampled": {"capture": "sampled"},
    "statistics": {"capture": "stats"},
    "with gaps": {"every": 2},
    "one parameter": {"params": "small"},
}


def train(path: Path, **settings: Any) -> Path:
    """Twelve turns of a large parameter and a small one, whose numbers are all finite."""
    parameters = torch.nn.ParameterDict({"large": torch.linspace(-1, 1, 5000).reshape(50, 100), "small": torch.ones(3)})
    optimizer = torch.optim.Adam(parameters.parameters(), lr=0.01)
    with optrace.record(path, model=parameters, **settings):
        for _ in range(12):
            optimizer.zero_grad()
            torch.stack([value.square().sum() for value in parameters.values()]).sum().backward()
            optimizer.step()
    return path


def shown(machine: Machine, want: history.Wanted) -> Iterator[tuple[int, str, str]]:
    """For each event: the reason for there being no number, and what the legend says."""
    series = history.collect(machine, want)
    assert series is not None
    for seq in range(want.count):
        chart = history.chart(series, want.count, seq, log=False)
        why = history.missing(machine, want, seq)
        yield seq, why, plain(history.lines(chart, series[0].name, why, 1.0, 60, 6, str)[0])


def reasons(
    machine: Machine, parameter: Parameter, kind: str, statistic: str, place: tuple[int, ...] = ()
) -> list[str]:
    want = history.wanted(machine, parameter, kind, statistic, place)
    return [why for _, why, _ in shown(machine, want)]


@pytest.mark.parametrize("run", RUNS)
def test_there_is_a_number_or_a_reason(tmp_path: Path, run: str) -> None:
    """Of a run without any nan: it is written nowhere."""
    found: Counter[str] = Counter()
    with optrace.load(train(tmp_path / "run.optrace", **RUNS[run])) as trace:
        machine = Machine(trace)
        for parameter in trace.parameters.values():
            for kind in ("param", "grad", "update", "exp_avg", "step"):
                for statistic in history.STATISTICS:
                    want = history.wanted(machine, parameter, kind, statistic, (0,) * len(parameter.shape))
                    for seq, why, legend in shown(machine, want):
                        here = f"{parameter} {kind} {statistic} at {seq}: {legend}"
                        assert "nan" not in legend, here
                        assert why in legend, here
                        assert not why or statistic != "loss", here
                        found[why] += 1
        machine.close()
    expected = {"sampled": REASONS, "exact": {"none"}}.get(run, {"none", "not kept"})
    assert found.keys() - {""} == expected


def test_the_reasons_are_the_right_ones(tmp_path: Path) -> None:
    with optrace.load(train(tmp_path / "run.optrace", capture="sampled")) as trace:
        machine = Machine(trace)
        large, small = trace.parameter("large"), trace.parameter("small")
        first, count = next(event.seq for event in trace.events if event.kind == "step"), len(trace.events)
        cleared = ["none" if event.kind == "zero_grad" else "" for event in trace.events]
        for parameter in (large, small):
            assert reasons(machine, parameter, "grad", "norm") == cleared
            assert reasons(machine, parameter, "exp_avg", "norm") == ["none"] * first + [""] * (count - first)
            assert reasons(machine, parameter, "update", "norm")[: first + 1] == ["none"] * first + [""]
        # What was taken of the large one, and which of its elements were kept.
        samples = [trace.sample(large, "param", event) for event in trace.events]
        assert reasons(machine, large, "param", "min mean max") == [
            "" if sample is None or "min" in sample.statistics else "not taken" for sample in samples
        ]
        last = samples[-1]
        assert last is not None
        assert "min" not in last.statistics
        assert 0 not in last.indices
        kept = tuple(int(number) for number in np.unravel_index(int(last.indices[0]), large.shape))
        assert reasons(machine, large, "param", "element", kept)[-1] == ""
        assert reasons(machine, large, "param", "element", (0, 0))[-1] == "not kept"
        assert reasons(machine, large, "update", "element", kept)[-1] == "not kept"
        assert set(reasons(machine, small, "param", "element", (0,))) == {""}
        machine.close()


def test_state_of_another_shape_has_other_elements(tmp_path: Path) -> None:
    """Adafactor keeps a column of the rows' moments."""
    weight = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = torch.optim.Adafactor([weight], lr=0.01)
    with optrace.record(tmp_path / "run.optrace"):
        weight.square().sum().backward()
        optimizer.step()
    with optrace.load(tmp_path / "run.optrace") as trace:
        machine = Machine(trace)
        entry = trace.parameter("weight")
        assert trace.value(entry, "row_var").shape == (4, 1)  # type: ignore[union-attr]
        assert reasons(machine, entry, "row_var", "element", (2, 0)) == ["none", ""]
        assert reasons(machine, entry, "row_var", "element", (2, 1)) == ["none", "none"]
        machine.close()


def test_a_keyframe_updates_nothing(tmp_path: Path) -> None:
    """The last update is what the last step did, also where a keyframe has stated the parameter again since."""
    ratios = {}
    for capture in ("exact", "sampled"):
        with optrace.load(train(tmp_path / f"{capture}.optrace", capture=capture)) as trace:
            machine, large = Machine(trace), trace.parameter("large")
            steps = [event.seq for event in trace.events if event.kind == "step"]
            written = [trace.last_write(large, "param", seq) for seq in range(len(trace.events))]
            restated = {found[0] for found in written if found is not None and found[1].op is Op.RESTATED}
            assert bool(restated) == (capture == "sampled")
            assert not restated & set(steps)
            last: float | None = None
            for seq in range(len(trace.events)):
                ratio = machine.readings.ratio(large, seq)
                last = ratio if seq in steps else last  # type: ignore[assignment]
                assert ratio == last
                assert (last is None) == (seq < steps[0])
            assert len(restated) == 0 or machine.readings.sampled(large, "update", min(restated))
            assert not any(machine.readings.sampled(large, "param", seq) for seq in restated)
            want = history.wanted(machine, large, "update", history.RATIO, ())
            (series,) = history.collect(machine, want) or ()
            drawn = dict(zip(series.numbers.tolist(), series.values.tolist(), strict=True))
            ratios[capture] = [drawn.pop(step) for step in steps]
            assert list(drawn) == [0]  # as it was made
            assert "" not in reasons(machine, large, "update", history.RATIO)[: steps[0]]
            assert set(reasons(machine, large, "update", history.RATIO)[steps[0] :]) == {""}
            machine.close()
    assert ratios["sampled"] == pytest.approx(ratios["exact"], rel=0.2)


def test_of_many_writes_all_kinds_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sixth write is the same call of each second turn: a clearing, where it begins with one."""
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with optrace.record(tmp_path / "run.optrace"):
        weight.sum().backward()
        for _ in range(200):
            optimizer.zero_grad()
            weight.sum().backward()
            (2 * weight).sum().backward()
    with optrace.load(tmp_path / "run.optrace") as trace:
        machine, entry = Machine(trace), trace.parameter("weight")
        want = history.wanted(machine, entry, "grad", "element", (0,))
        (whole,) = history.collect(machine, want) or ()
        assert len(whole.numbers) == 601
        assert np.count_nonzero(np.isnan(whole.values)) == 200
        assert np.isnan(whole.values[1::6]).all()
        monkeypatch.setattr(history, "MOST_ELEMENTS", 101)
        (some,) = history.collect(machine, want) or ()
        assert some.name == "[0] (one of 4 writes)"
        assert len(some.numbers) == 101
        assert np.all(np.diff(some.numbers) > 0)
        assert set(np.unique(some.values)) == {1.0, 3.0}
        assert 30 < np.count_nonzero(some.values == 1) < 70
        again = history.collect(machine, want) or ()
        assert [series.numbers.tolist() for series in again] == [some.numbers.tolist()]
        machine.close()


async def test_what_is_drawn_of_updates_is_said(network: Path, opened: Opened) -> None:
    """Not the statistic that was chosen for another value: of updates there is their size over the parameter's."""
    async with opened(network, size=(180, 50)) as (app, pilot):
        await press(app, pilot, "end", "5")
        app.session.view.kind = "param"
        text = await press(app, pilot, "x")
        assert "‹min mean max›" in text
        assert "min mean max of 0.weight" in text
        app.session.view.kind = "exp_avg_sq"
        text = await press(app, pilot, "v")
        assert app.session.view.kind == "update"
        assert "‹last update›" in text
        assert "‹Δ/param›" in text
        assert "Δ/param of 0.weight" in text
        assert "min mean max" not in text
        text = await press(app, pilot, "v")
        assert "min mean max of 0.weight" in text
        await press(app, pilot, "V")
        assert "element of last update" in await press(app, pilot, "x")
        assert "‹loss›" in await press(app, pilot, "x")
        assert "Δ/param of 0.weight" in await press(app, pilot, "x")
        assert "norm of 0.weight" in await press(app, pilot, "v")


async def test_none_and_nan_are_told_apart(network: Path, opened: Opened) -> None:
    async with opened(network) as (app, pilot):

        def legend(what: str) -> str:
            found = re.search(what + r"(.*?)   linear", screen_text(app))
            assert found is not None
            return found[1].strip()

        await press(app, pilot, "5")
        assert app.session.view.kind == "grad"
        for position, expected in (("5:0", "none"), ("9:0", "none"), ("9:1", "nan"), ("9:2", "nan")):
            await press(app, pilot, "g", *position, "enter")
            assert legend(r"norm of 0\.weight\.grad") == expected, position
        await press(app, pilot, *"xxxxx")
        assert app.session.view.statistic == "loss"
        assert legend("loss   ") == "nan"
        await press(app, pilot, "home")
        assert legend("loss") == ""
