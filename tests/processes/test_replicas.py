"""OT701 and OT702: replicas that part are found, with the step, the parameter, how much, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optrace

from . import loops
from .ranks import one, run_ranks


def at_line(found: Any) -> str:
    return Path(found.file).read_text(encoding="utf-8").splitlines()[found.line - 1].strip()


def difference(folder: Path, name: str, kind: str, at: str) -> float:
    """The largest difference between two ranks' values, from the traces themselves."""
    with optrace.load(folder / "run.optrace") as first:
        mine, theirs = (trace.value(name, kind, at) for trace in first.processes.values())
        return float(np.abs(mine.astype(np.float64) - theirs.astype(np.float64)).max())


def test_no_sync_around_the_last_micro_batch(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.never_synced)
    found = one(tmp_path, "OT701")
    assert (found.severity, found.position, found.count) == ("error", "1:3", 2)  # the first step was in order
    assert found.processes == ("rank-0", "rank-1")
    assert found.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert at_line(found) == "optimizer.step()"
    name = found.message.split("the gradient of ")[1].split(" by up to ")[0]
    assert found.evidence["largest_gradient_difference"] == difference(tmp_path, name, "grad", "1:3")
    assert "no_sync()" in found.fix


def test_no_ddp_at_all(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.averaged_loss)
    found = one(tmp_path, "OT701")
    assert (found.severity, found.position, found.count) == ("warning", "0:2", 4)
    assert "average the gradients (not the loss)" in found.fix


def test_parameters_outside_ddp(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.head_outside)
    found = one(tmp_path, "OT701")
    assert (found.severity, found.position) == ("error", "0:2")
    assert found.parameters == ("head.weight", "head.bias")
    assert found.fix == "Put head.weight, head.bias into the module that DistributedDataParallel wraps."


def test_made_from_different_seeds(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.made_unequal)
    found = one(tmp_path, "OT702")
    assert (found.severity, found.position, found.count) == ("error", "0:2", 4)
    assert "before the step at 0:2" in found.message
    assert "init_sync" in found.fix
    name = found.message.split("rank 0: ")[1].split(" by up to ")[0]
    assert found.evidence["largest_difference"] == difference(tmp_path, name, "param", "0:1")


def test_a_rank_that_skips_a_step(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.skips_a_step)
    found = one(tmp_path, "OT702")
    assert (found.position, at_line(found)) == ("1:2", "optimizer.step()")
    assert "Rank 0 made a step at 1:2 that rank 1 did not make." in found.message


def test_other_learning_rates(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.other_rates)
    found = one(tmp_path, "OT702")
    assert (found.position, found.count) == ("0:2", 4)
    assert "`lr` is 0.1 on rank 0 and 0.2 on rank 1" in found.message


def test_a_rank_whose_weights_are_touched(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.touched)
    found = one(tmp_path, "OT702")
    assert "before the step at 2:2" in found.message
    assert found.parameters == ("0.bias",)


def test_past_the_budget_samples_are_compared_and_it_says_so(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.wide_and_never_synced, capture="sampled")
    found = one(tmp_path, "OT701")
    assert found.evidence["sampled"] is True
    assert "in the sample of its elements that was kept" in found.message


def test_a_gradient_on_one_rank_alone(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.unused_head_outside)
    found = one(tmp_path, "OT701")
    assert "is there on one rank alone" in found.message


@pytest.mark.slow
def test_one_of_four(tmp_path: Path) -> None:
    run_ranks(tmp_path, loops.last_rank_skips, size=4)
    found = one(tmp_path, "OT702")
    assert found.processes == ("rank-0", "rank-3")
    assert found.evidence["ranks"] == [0, 3]
