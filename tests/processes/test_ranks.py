"""DistributedDataParallel on real process groups: what each rank records, and that recording changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optrace

from . import loops
from .ranks import findings, quiet, run_ranks

ZBS = ["zero_grad", "backward", "step"]


def kinds(trace: Any) -> list[list[str]]:
    """The kinds of events of each iteration."""
    return [[event.kind for event in iteration.events] for iteration in trace.iterations]


def line(event: Any) -> str:
    return Path(event.site.file).read_text(encoding="utf-8").splitlines()[event.site.line - 1].strip()


ROWS: list[tuple[Callable[[int, int], Any], list[list[str]], str]] = [
    (loops.plain, [ZBS] * 4, "loss_of(model, rank, step).backward()"),
    (loops.bucket_views, [["zero_grad", "backward", "clip", "step"]] * 4, "loss_of(model, rank, step).backward()"),
    (loops.unused, [ZBS] * 4, "model(batch(rank, step), (rank + step) % 2).square().mean().backward()"),
    (
        loops.accumulate,
        [["zero_grad", *["backward"] * 3, "step"]] * 3,
        "(loss_of(model, rank, 3 * step + part) / 3).backward()",
    ),
]


@pytest.mark.parametrize(("body", "expected", "backward"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_right_loops_under_ddp(
    body: Callable[[int, int], Any], expected: list[list[str]], backward: str, tmp_path: Path
) -> None:
    recorded = run_ranks(tmp_path, body)
    assert recorded == run_ranks(tmp_path, body, record=False)
    assert recorded[0] == recorded[1]
    with optrace.load(tmp_path / "run.optrace") as first:
        assert list(first.processes) == ["rank-0", "rank-1"]
        for trace in first.processes.values():
            assert kinds(trace) == expected
            assert {line(event) for event in trace.events if event.kind == "backward"} == {backward}
            assert all(not name.startswith("module.") for name in trace.parameters)
            assert {p.placement.by for p in trace.parameters.values()} == {"DistributedDataParallel"}
            assert {p.placement.ranks for p in trace.parameters.values()} == {(0, 1)}
            weights = [trace.value(name).tobytes() for name in trace.parameters]
            assert weights == recorded[0]
    quiet(tmp_path)


def test_a_contribution_is_what_was_in_grad_after_the_backward(tmp_path: Path) -> None:
    """Averaged over the ranks, once DDP has done so; applied once and cleared."""
    run_ranks(tmp_path, loops.accumulate)
    with optrace.load(tmp_path / "run.optrace") as first:
        one, other = first.processes.values()
        for name in one.parameters:
            mine, theirs = (trace.value(name, "grad", "1:3") for trace in (one, other))
            assert mine.tobytes() == theirs.tobytes()
            assert one.value(name, "grad", "1:2").tobytes() != other.value(name, "grad", "1:2").tobytes()
            account = one.ledger(name, "1:4")
            assert [str(c.position) for c in account.inside] == ["1:1", "1:2", "1:3"]
            assert [c.applied for c in account.inside] == [1, 1, 1]
            past = one.ledger(name, "2:0").past
            assert {c.fate for c in past} == {"cleared"}
            assert {c.applied for c in past} == {1}


@pytest.mark.parametrize(
    "body",
    [loops.averaged_by_hand, loops.local_sgd, loops.only_rank_0_says_more, loops.stages],
    ids=lambda body: body.__name__,
)
def test_other_right_ways_are_quiet(body: Callable[[int, int], Any], tmp_path: Path) -> None:
    run_ranks(tmp_path, body)
    quiet(tmp_path)


def test_independent_processes_are_quiet(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.sweep, grouped=False)
    with optrace.load(tmp_path / "run.optrace") as first:
        assert list(first.processes) == ["process-1", "process-2"]
        ends = [trace.value("0.weight") for trace in first.processes.values()]
        assert not np.array_equal(*ends)
    quiet(tmp_path)


def test_a_bug_that_all_ranks_have_is_one_finding(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.forgets_to_clear)
    (found,) = [f for f in findings(tmp_path) if f.severity != "hint"]
    assert (found.code, found.processes) == ("OT101", ("rank-0", "rank-1"))


@pytest.mark.slow
def test_four_ranks(tmp_path: Path) -> None:
    recorded = run_ranks(tmp_path, loops.plain, size=4)
    assert len({tuple(weights) for weights in recorded.values()}) == 1
    with optrace.load(tmp_path / "run.optrace") as first:
        assert list(first.processes) == ["rank-0", "rank-1", "rank-2", "rank-3"]
    quiet(tmp_path)
