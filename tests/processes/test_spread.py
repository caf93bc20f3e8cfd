"""Every usual way to spread training over ranks: named as in the model, nothing found, bit-identical."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import optrace

from . import spread
from .ranks import quiet, run_ranks

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]
WHOLE = "replica of 2 processes"
SHARD = "shard of 2 processes, Shard(0)"

ROWS: list[tuple[Callable[[int, int], Any], int, list[str], list[str]]] = [
    (spread.zero_redundancy, 2, NAMES, [WHOLE] * 4),
    (spread.post_local_sgd, 2, NAMES, [WHOLE] * 4),
    (spread.half_precision_hook, 2, NAMES, [WHOLE] * 4),
    (spread.wrapped_in_parts, 2, ["body.weight", "body.bias", "head.weight", "head.bias"], [WHOLE] * 4),
    (spread.never_resharded, 2, NAMES, [SHARD] * 4),
    (spread.hybrid_sharded, 4, NAMES, ["shard of 4 processes, Replicate(), Shard(0)"] * 4),
    (
        spread.tensor_parallel,
        2,
        NAMES,
        [SHARD, SHARD, "shard of 2 processes, Shard(1)", "replica of 2 processes, Replicate()"],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("body", "size", "names", "placements"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_spread(
    body: Callable[[int, int], Any], size: int, names: list[str], placements: list[str], tmp_path: Path
) -> None:
    recorded = run_ranks(tmp_path, body, size)
    assert recorded == run_ranks(tmp_path, body, size, record=False)
    with optrace.load(tmp_path / "run.optrace") as first:
        assert list(first.processes) == [f"rank-{rank}" for rank in range(size)]
        for rank, trace in enumerate(first.processes.values()):
            assert list(trace.parameters) == names
            assert [str(parameter.placement) for parameter in trace.parameters.values()] == placements
            assert [trace.value(name).tobytes() for name in names] == recorded[rank]
            assert not trace.meta["failure"]
    quiet(tmp_path)
