"""torchrun on this machine, DDP and FSDP2, recorded as people would; and what the commands make of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import optrace

from .programs import TORCHRUN, kinds, module, script

RECORDED = (*TORCHRUN, "-m", "optrace", "run")

DDP = """
    import sys
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    torch.manual_seed(rank)
    for step in range(4):
        optimizer.zero_grad()
        model(torch.randn(3, 4)).square().mean().backward()
        optimizer.step()
        if rank == 1 and "dies" in sys.argv and step == 1:
            import os, signal, time
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write(f"{rank} {[p.tolist() for p in model.parameters()]}\\n")
    dist.destroy_process_group()
"""

FSDP = """
    import sys
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(4):
        optimizer.zero_grad()
        for part in range(2):
            model.set_requires_gradient_sync(part == 1)
            batch = torch.randn(3, 4, generator=torch.Generator().manual_seed(10 * step + 2 * part + rank))
            model(batch).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    sys.stdout.write(f"{rank} {[p.to_local().tolist() for p in model.parameters()]}\\n")
    dist.destroy_process_group()
"""


def weights(out: str) -> dict[int, list[object]]:
    """What each rank printed at its end."""
    found = {}
    for line in out.splitlines():
        rank, _, values = line.partition(" ")
        found[int(rank)] = json.loads(values)
    return found


def test_ddp(tmp_path: Path) -> None:
    script(tmp_path, DDP)
    ended = module(*RECORDED, "train.py", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert weights(ended.out) == weights(module(*TORCHRUN, "train.py", cwd=tmp_path).out)
    said = [line for line in ended.said if "next:" not in line]
    assert said[0].startswith("optrace: 24 events, 4 iterations, 4 parameters, ")
    assert said[0].endswith(", 2 processes in train.optrace")
    assert said[1:] == ["optrace: no findings"]  # said once, by whoever ended last
    with optrace.load(tmp_path / "train.optrace") as first:
        assert list(first.processes) == ["rank-0", "rank-1"]
        for rank, trace in enumerate(first.processes.values()):
            assert trace.meta["process_group"] == {"rank": rank, "size": 2, "backend": "gloo"}
            assert list(trace.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
            assert kinds(trace) == [["zero_grad", "backward", "step"]] * 4
            assert [trace.value(name).tolist() for name in trace.parameters] == weights(ended.out)[rank]
    _commands(tmp_path)


def _commands(folder: Path) -> None:
    """check, info and show read them together; one rank's folder is a trace like any other."""
    checked = module("optrace", "check", "train.optrace", cwd=folder)
    assert (checked.code, checked.out) == (0, "train.optrace: no findings in 2 processes\n")
    info = json.loads(module("optrace", "info", "train.optrace", "--json", cwd=folder).out)
    assert [found["events"] for found in info["processes"].values()] == [12, 12]
    assert info["parameters"][0]["placement"]["by"] == "DistributedDataParallel"
    shown = module("optrace", "show", "train.optrace", "3:1", cwd=folder).out
    assert shown.index("rank-0") < shown.index("rank-1")
    assert shown.count("model(torch.randn(3, 4)).square().mean().backward()") == 2
    lines = module("optrace", "show", "train.optrace/rank-1", "--json", cwd=folder).out.splitlines()
    assert {json.loads(line)["process"] for line in lines} == {"rank-1"}


@pytest.mark.slow
def test_a_second_run_overwrites_only_when_told(tmp_path: Path) -> None:
    """Then it leaves nothing of the first."""
    script(tmp_path, DDP)
    assert module(*RECORDED, "train.py", cwd=tmp_path).code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "train.optrace").rglob("*")}
    refused = module("optrace", "run", "-m", *TORCHRUN, "train.py", cwd=tmp_path)
    assert refused.code == 2
    assert refused.said == [
        "optrace: train.optrace exists; choose another name, or say -f (overwrite=True) to replace it"
    ]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "train.optrace").rglob("*")} == before
    (tmp_path / "train.optrace" / "rank-7").mkdir()
    again = module("optrace", "run", "-f", "-q", "-m", *TORCHRUN, "train.py", cwd=tmp_path)
    assert (again.code, again.said) == (0, [])
    with optrace.load(tmp_path / "train.optrace") as first:
        assert list(first.processes) == ["rank-0", "rank-1"]
        assert all(trace.complete for trace in first.processes.values())
    assert not (tmp_path / "train.optrace" / "rank-7").exists()


def test_a_rank_that_dies_leaves_the_others_readable(tmp_path: Path) -> None:
    script(tmp_path, DDP)
    ended = module(*RECORDED, "train.py", "dies", cwd=tmp_path)
    assert ended.code != 0
    with optrace.load(tmp_path / "train.optrace") as first:
        died = first.processes["rank-1"]
        assert not died.complete
        assert kinds(died) == [["zero_grad", "backward", "step"]] * 2
        assert kinds(first.processes["rank-0"])[:2] == kinds(died)
        for name in died.parameters:
            mine, theirs = (trace.value(name, at="1:2") for trace in first.processes.values())
            assert mine.tobytes() == theirs.tobytes()
        assert not [f for f in optrace.check(first) if f.code in ("OT701", "OT702")]


@pytest.mark.slow
def test_fsdp2(tmp_path: Path) -> None:
    """Shards are recorded as such, under the names of the whole model, and never compared as replicas."""
    script(tmp_path, FSDP)
    ended = module(*RECORDED, "train.py", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert weights(ended.out) == weights(module(*TORCHRUN, "train.py", cwd=tmp_path).out)
    whole = {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    with optrace.load(tmp_path / "train.optrace") as first:
        traces = list(first.processes.values())
        for rank, trace in enumerate(traces):
            assert list(trace.parameters) == list(whole)
            assert kinds(trace) == [["zero_grad", "backward", "backward", "clip", "step"]] * 4
            values = [trace.value(name) for name in whole]
            assert [value.tolist() for value in values] == weights(ended.out)[rank]
            for name, value in zip(whole, values, strict=True):
                parameter = trace.parameters[name]
                assert parameter.shape == value.shape
                assert parameter.placement.kind == "shard"
                assert parameter.placement.shape == whole[name]
                assert parameter.placement.placements == ("Shard(0)",)
                assert parameter.placement.ranks == (0, 1)
                for kind in ("grad", "exp_avg", "exp_avg_sq"):
                    assert trace.value(name, kind).shape == value.shape
                # Gathered at the second backward, applied by the step: one contribution to each shard.
                assert [c.applied for c in trace.ledger(name, "2:4").inside] == [1]
        for name, shape in whole.items():
            assert np.concatenate([trace.value(name) for trace in traces]).shape == shape
        clips = [[e.detail["norm_before"] for e in trace.events if e.kind == "clip"] for trace in traces]
        assert clips[0] == clips[1]  # the norm of the whole gradient, which torch had all ranks compute
        squares = sum(np.square(trace.value(name, "grad", "0:2")).sum() for trace in traces for name in whole)
        assert clips[0][0] == pytest.approx(np.sqrt(squares), rel=1e-5)
        assert not [str(f) for f in optrace.check(first) if f.severity != "hint"]
    shown = module("optrace", "info", "train.optrace/rank-1", cwd=tmp_path).out
    assert "0.weight  [2, 4] of [5, 4]" in shown
    assert "shard of 2 processes, Shard(0)" in shown


@pytest.mark.slow
def test_ranks_that_are_started_again_after_a_failure(tmp_path: Path) -> None:
    """torchrun's restart is a run of its own: what the first attempt recorded stays."""
    script(
        tmp_path,
        """
        import os, sys
        import torch
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        for turn in range(3):
            optimizer.zero_grad()
            w.square().sum().backward()
            optimizer.step()
        sys.exit(os.environ["TORCHELASTIC_RESTART_COUNT"] == "0")
        """,
    )
    ended = module(*TORCHRUN, "--max-restarts", "1", "-m", "optrace", "run", "train.py", cwd=tmp_path)
    assert ended.code == 0, ended.err
    with optrace.load(tmp_path / "train.restart-1.optrace") as trace:
        assert list(trace.processes) == ["rank-0", "rank-1"]
    with optrace.load(tmp_path / "train.optrace") as trace:
        assert trace.processes
