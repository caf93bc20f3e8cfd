"""Past the budget: the trace stays within it however long the run, says what is whole, and its samples are right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import optrace
from optrace.errors import LookupFailed
from optrace.recording import pace
from optrace.trace.format import ONE_PASS, SMALL

SLACK = 1.05


class Copies:
    """What a loop's values were after each event, with torch's own statistics of them."""

    def __init__(self, recording: optrace.record) -> None:
        self._recording = recording
        self.values: dict[tuple[int, int, str, str], torch.Tensor | None] = {}
        self.iteration = -1
        self._index = 0

    def begin(self, iteration: int) -> None:
        self.iteration, self._index = iteration, 0

    def look(self, tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        """After one more call of the loop."""
        for name, tensor in tensors.items():
            found = {"param": tensor, "grad": tensor.grad, **optimizer.state.get(tensor, {})}
            for kind, value in found.items():
                key = (self.iteration, self._index, name, kind)
                self.values[key] = None if value is None else torch.as_tensor(value).detach().clone()
        self._index += 1

    def check(self, trace: optrace.trace.reader.Trace) -> dict[str, int]:
        """Every value that the trace claims to have is the one there was; how often each kind of claim was made."""
        claims: dict[str, int] = {}
        for (iteration, index, name, kind), value in self.values.items():
            try:
                at = trace.seq((iteration, index))
            except LookupFailed:
                assert not trace.iterations[iteration].recorded
                continue
            if trace.event(at).kind == "gap":
                continue
            kept = trace.exactness(name, kind, at=at)
            claims[str(kept)] = claims.get(str(kept), 0) + 1
            if value is None:
                assert kept is None
            elif kept in ("exact", "keyframe"):
                found = trace.value(name, kind, at=at)
                assert found is not None
                assert found.tobytes() == value.contiguous().view(torch.uint8).numpy().tobytes()
                assert trace.sample(name, kind, at=at) is None
            elif kept == "not kept":
                with pytest.raises(LookupFailed, match=r"not kept|not known"):
                    trace.value(name, kind, at=at)
            else:
                self._sampled(trace, name, kind, at, value, kept)
        return claims

    @staticmethod
    def _sampled(trace: Any, name: str, kind: str, at: int, value: torch.Tensor, kept: str | None) -> None:
        with pytest.raises(LookupFailed, match=r"sample\(\) has what was kept"):
            trace.value(name, kind, at=at)
        sample = trace.sample(name, kind, at=at)
        assert sample is not None
        assert len(sample.indices) == len(sample.values) == (64 if kept == "sampled" else 0)
        chosen = value.flatten()[torch.tensor(np.array(sample.indices))]
        assert sample.values.tobytes() == chosen.view(torch.uint8).numpy().tobytes()
        wide = value.double()
        true = {
            "norm": float(torch.linalg.vector_norm(wide)),
            "mean": float(wide.mean()),
            "min": float(wide.min()),
            "max": float(wide.max()),
            "zeros": float((wide == 0).sum()),
            "nonfinite": float((~wide.isfinite()).sum()),
        }
        assert sample.statistics.keys() in (true.keys(), set(ONE_PASS))
        assert len(sample.statistics) == 6 or kept == "sampled"
        expected = {name: true[name] for name in sample.statistics}
        assert sample.statistics == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def size_on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def train(path: Path, turns: int, widths: list[int], dtype: torch.dtype, **options: Any) -> tuple[Any, Copies, int]:
    """A plain loop with momentum; the trace, what was true, and the largest size it had on disk."""
    tensors = {f"w{i}": torch.linspace(-1, 1, width).to(dtype).requires_grad_() for i, width in enumerate(widths)}
    optimizer = torch.optim.SGD(list(tensors.values()), lr=0.25, momentum=0.5)
    w0, *others = tensors.values()
    largest = 0
    with optrace.record(path, **options) as recording:
        copies = Copies(recording)
        for turn in range(turns):
            copies.begin(turn)
            optimizer.zero_grad()
            copies.look(tensors, optimizer)
            sum(((w * w).sum() * (turn % 7 + 1) for w in [w0, *others]), torch.zeros(())).backward()
            copies.look(tensors, optimizer)
            optimizer.step()
            copies.look(tensors, optimizer)
            largest = max(largest, size_on_disk(path))
    assert recording.failure is None
    names = dict(zip((p.name for p in optrace.load(path).parameters.values()), tensors, strict=True))
    copies.values = {
        (i, e, next(own for own, mine in names.items() if mine == name), kind): value
        for (i, e, name, kind), value in copies.values.items()
    }
    return optrace.load(path), copies, max(largest, size_on_disk(path))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_exact_then_sampled_with_keyframes_then_fewer_iterations(tmp_path: Path, dtype: torch.dtype) -> None:
    trace, copies, largest = train(tmp_path / "run.optrace", 500, [6000, 3, 900], dtype, budget="2.5MB")
    assert largest <= 2_500_000 * SLACK
    claims = copies.check(trace)
    assert claims["exact"] > 100
    assert claims["sampled"] > 100
    assert claims["keyframe"] > 5
    captures = [phase.capture for phase in trace.phases]
    assert captures[:2] == ["exact", "sampled"]
    assert [phase.every for phase in trace.phases if phase.capture == "sampled"][:3] == [1, 2, 4]
    assert len(trace.iterations) == 500
    missing = sum(gap.last - gap.first + 1 for gap in trace.gaps)
    assert missing + sum(1 for _ in trace.iterations if _.recorded) == 500
    assert sum(gap.events for gap in trace.gaps) == 3 * missing
    gap = trace.gaps[1]
    assert not trace.iterations[gap.first].recorded
    with pytest.raises(LookupFailed, match="not recorded: the budget has room for one iteration in"):
        trace.value("w0", at=gap.seq)
    with pytest.raises(LookupFailed, match=r"iteration \d+ was not recorded"):
        trace.seq(f"{gap.first + 1}:0")


def test_a_keyframe_is_whole_from_its_second_event_on(tmp_path: Path) -> None:
    """Parameter, gradient and state before and after its step: so the arithmetic of the step can be shown."""
    from optrace.arithmetic import explain

    trace, _, _ = train(tmp_path / "run.optrace", 500, [6000], torch.float32, capture="sampled")
    keyframes = {event.iteration for event in trace.events if event.keyframe}
    assert 1 < len(keyframes) < 250
    for iteration in sorted(keyframes)[1:]:
        step = trace.event((iteration, 2))
        kept = {trace.exactness("w0", kind, at=step) for kind in ("param", "grad", "momentum_buffer")}
        assert kept == {"keyframe"}
        found = explain(trace, step, "w0", (432,))
        assert found.agrees


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    budget=st.integers(1_000_000, 1_600_000),
    widths=st.lists(st.integers(1, 9000), min_size=1, max_size=3),
    turns=st.integers(1, 150),
    capture=st.sampled_from(["auto", "exact", "sampled", "stats"]),
    every=st.sampled_from([1, 1, 3]),
)
def test_any_budget_any_loop(
    tmp_path_factory: pytest.TempPathFactory, budget: int, widths: list[int], turns: int, capture: str, every: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "run.optrace"
    trace, copies, largest = train(path, turns, widths, torch.float32, budget=budget, capture=capture, every=every)
    assert largest <= budget * SLACK
    claims = copies.check(trace)
    if capture == "exact":
        assert not claims.keys() & {"sampled", "statistics", "keyframe"}
    if capture == "stats":
        assert not claims.keys() & {"sampled", "keyframe"}
    assert len(trace.iterations) == turns
    assert not optrace.check(trace, select=["OT1"])


def test_events_alone_stay_within_the_budget(tmp_path: Path) -> None:
    """A loop whose every event has more to say than its values weigh, and that never comes round."""
    path = tmp_path / "run.optrace"
    x = torch.ones(2, requires_grad=True)
    with optrace.record(path, budget=1_000_000) as recording:
        for turn in range(6000):
            optrace.log(text="x" * 200, turn=turn)
    assert recording.failure is None
    assert size_on_disk(path) <= 1_000_000 * SLACK
    trace = optrace.load(path)
    assert [phase.capture for phase in trace.phases][-1] == "nothing"
    assert trace.gaps[-1].events + len(trace.events) - 1 == 6000
    assert x.grad is None


def test_the_sample_is_the_same_elements_each_time(tmp_path: Path) -> None:
    big = torch.randn(5000, requires_grad=True)
    optimizer = torch.optim.Adam([big])
    with optrace.record(tmp_path / "run.optrace", capture="sampled"):
        for _ in range(6):
            optimizer.zero_grad()
            big.square().sum().backward()
            optimizer.step()
    trace = optrace.load(tmp_path / "run.optrace")
    taken = [trace.sample("big", kind) for kind in ("param", "grad", "exp_avg", "exp_avg_sq")]
    kept = [sample.indices for sample in taken if sample is not None]
    assert len(kept) == 4
    assert all(np.array_equal(kept[0], other) for other in kept)
    assert len(set(kept[0].tolist())) == len(kept[0])
    assert kept[0].max() < 5000


@pytest.mark.parametrize(
    ("options", "whole", "turns"),
    [({"capture": "sampled"}, pace.ROOMY // 4, 40), ({"budget": "1MB"}, SMALL // 4, 150)],
    ids=["there is room", "past the budget"],
)
def test_small_values_are_always_whole(tmp_path: Path, options: dict[str, Any], whole: int, turns: int) -> None:
    trace, copies, _ = train(tmp_path / "run.optrace", turns, [whole, whole + 1, 3000], torch.float32, **options)
    copies.check(trace)
    first = next(phase.event for phase in trace.phases if phase.capture == "sampled")
    end = next((phase.event for phase in trace.phases if phase.capture in ("stats", "nothing")), len(trace.events))
    steps = [event for event in trace.events if event.kind == "step" and first + 3 < event.seq < end - 6]
    assert steps
    kept = [{trace.exactness(name, at=step) for step in steps} for name in list(trace.parameters)[:2]]
    assert kept[0] <= {"exact", "keyframe", "not kept"}
    assert "sampled" in kept[1]


def test_where_all_values_are_small_there_are_no_keyframes(tmp_path: Path) -> None:
    trace, copies, _ = train(tmp_path / "run.optrace", 60, [pace.ROOMY // 4, 3], torch.float32, capture="sampled")
    assert set(copies.check(trace)) <= {"exact", "None"}
    assert not any(event.keyframe for event in trace.events)


def test_where_room_gets_short_small_values_are_sampled_too(tmp_path: Path) -> None:
    trace, copies, largest = train(
        tmp_path / "run.optrace", 300, [2000], torch.float32, capture="sampled", budget="1MB"
    )
    assert largest <= 1_000_000 * SLACK
    claims = copies.check(trace)
    assert claims["exact"] > 20
    assert claims["sampled"] > 20


def test_a_disk_that_fills_up_makes_it_go_over_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little room on the disk the trace stays as small as with a small budget, and does not fail."""
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    monkeypatch.setattr(pace, "SPARE", free - 1_500_000)  # all of the disk but so much is left to others
    path = tmp_path / "run.optrace"
    trace, copies, largest = train(path, 300, [6000], torch.float32)
    assert largest < 8_000_000  # others write too, so it is not known to the byte
    assert trace.phases[-1].capture in ("sampled", "nothing")
    copies.check(trace)


@pytest.mark.parametrize("budget", ["", "lots", "-5", "0", "12 parsecs", 0, -1, 1000, "900kB"])
def test_budgets_that_are_none(tmp_path: Path, budget: int | str) -> None:
    with pytest.raises(optrace.OptraceError) as caught:
        optrace.record(tmp_path / "run.optrace", budget=budget)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run.optrace").exists()
