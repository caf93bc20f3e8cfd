"""Running a function on several ranks of a real process group, each recorded, and checking what they left."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optrace

TIMEOUT = 120.0
"""Seconds after which a test gives up on its ranks, and a rank on the others."""

Body = Callable[[int, int], Any]


def run_ranks(
    folder: Path, body: Body, size: int = 2, record: bool = True, grouped: bool = True, **options: Any
) -> dict[int, Any]:
    """Run `body(rank, size)` on every rank; what each gave back, by rank. The trace is `folder/run.optrace`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "torch._dynamo", "torch.distributed.tensor", "torch.nn.parallel", "optrace"]
    )
    results: Any = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(folder, body, rank, size, record, grouped, options, results))
        for rank in range(size)
    ]
    for rank in ranks:
        rank.start()
    try:
        found = _gather(ranks, results)
        for rank in ranks:
            rank.join(TIMEOUT)
        assert all(rank.exitcode == 0 for rank in ranks), [rank.exitcode for rank in ranks]
    finally:
        _end(ranks)
    return found


def _gather(ranks: list[BaseProcess], results: Any) -> dict[int, Any]:
    """What the ranks gave back; less where one of them failed."""
    found: dict[int, Any] = {}
    until = time.monotonic() + TIMEOUT
    while len(found) < len(ranks) and time.monotonic() < until:
        try:
            rank, result = results.get(timeout=0.2)
            found[rank] = result
        except queue.Empty:
            if any(rank.exitcode for rank in ranks):
                break
    return found


def _end(ranks: list[BaseProcess]) -> None:
    for rank in ranks:
        if rank.is_alive():
            rank.kill()
            rank.join()


def _rank(
    folder: Path, body: Body, rank: int, size: int, record: bool, grouped: bool, options: dict[str, Any], results: Any
) -> None:
    import torch
    from torch import distributed

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.pop("MASTER_PORT", None)
    if grouped:
        store = distributed.FileStore(str(folder / f"store-{record}"), size)
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=TIMEOUT)
        )
    try:
        if record:
            path = folder / "run.optrace" if grouped else folder / "run.optrace" / f"process-{rank + 1}"
            with optrace.record(path, **options):
                found = body(rank, size)
        else:
            found = body(rank, size)
        results.put((rank, found))
    finally:
        if grouped:
            distributed.destroy_process_group()


def bits(module: Any) -> list[bytes]:
    """Every parameter of a module, its local part, as bytes."""
    parameters = [getattr(p, "_local_tensor", p) for p in module.parameters()]
    return [p.detach().contiguous().numpy().tobytes() for p in parameters]


def findings(folder: Path) -> list[Any]:
    with optrace.load(folder / "run.optrace") as trace:
        return list(optrace.check(trace))


def one(folder: Path, code: str) -> Any:
    """The one finding of a rule; nothing else may be above a hint."""
    found = [f for f in findings(folder) if f.severity != "hint"]
    assert [f.code for f in found] == [code], [str(f) for f in found]
    return found[0]


def quiet(folder: Path) -> None:
    """No finding above a hint, on any rank or between them."""
    assert not [str(f) for f in findings(folder) if f.severity != "hint"]
