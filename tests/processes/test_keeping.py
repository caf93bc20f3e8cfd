"""Ranks that record their last iterations keep them together."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

import optrace
from optrace.recording.session import current

from .ranks import run_ranks


def until_kept(rank: int, size: int) -> int:
    """Train until the recording ends; rank 0 ends it. The turns that were made."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    end = time.monotonic() + 60
    turn = 0
    while current() is not None and time.monotonic() < end:
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
        turn += 1
        if turn == 30:
            torch.distributed.barrier()  # what there is to keep is there on both
        if rank == 0 and turn == 50:
            optrace.keep("rank 0 has seen enough")
        time.sleep(0.001)
    return turn


def test_what_ends_one_rank_ends_all(tmp_path: Path) -> None:
    turns = run_ranks(tmp_path, until_kept, last=20)
    assert turns[0] == 50
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert list(trace.processes) == ["rank-0", "rank-1"]
        for name, member in trace.processes.items():
            assert member.complete
            assert "rank 0 has seen enough" in member.meta["kept"]
            assert len(member.iterations) <= turns[int(name[-1])]
            assert member.events[-1].kind == "step" or name == "rank-1"
