"""Scripts that fork or spawn: each process that trains has its own trace, the others none."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

import optrace

from .programs import kinds, module, script

ZBS = ["zero_grad", "backward", "step"]

TRAIN = """
    import multiprocessing, os, sys
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    def train(seed, steps=3):
        torch.manual_seed(seed)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
        print(seed, model.weight.tolist(), flush=True)

    def by(method, count=2):
        context = multiprocessing.get_context(method)
        children = [context.Process(target=train, args=(seed,)) for seed in range(count)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0

    def by_torch():
        import torch.multiprocessing
        torch.multiprocessing.spawn(train, nprocs=2)

    def joins(rank, store):
        import torch.distributed as dist
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        train(0)
        dist.destroy_process_group()

    def as_ranks():
        import torch.multiprocessing
        torch.multiprocessing.spawn(joins, (os.path.abspath("store"),), nprocs=2)

    def forks():
        if os.fork() == 0:
            train(0)
            os._exit(0)
        os.wait()
        train(1)

    def loads():
        for method in ("fork", "spawn"):
            data = DataLoader(TensorDataset(torch.ones(4, 2)), num_workers=1, multiprocessing_context=method)
            for (batch,) in data:
                assert batch.sum() == 2
        train(0)

    if __name__ == "__main__":
        eval(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("by('fork')", ["process-1", "process-2"]),
        pytest.param("(by('spawn', 1), train(7))", ["main", "process-1"], marks=pytest.mark.slow),
        pytest.param("forks()", ["main", "process-1"], marks=pytest.mark.slow),
        ("loads()", ["main"]),
        pytest.param("by('forkserver')", ["process-1", "process-2"], marks=pytest.mark.slow),
        pytest.param("(by('fork'), by('spawn', 1))", ["process-1", "process-2", "process-3"], marks=pytest.mark.slow),
        pytest.param("as_ranks()", ["rank-0", "rank-1"], marks=pytest.mark.slow),
        pytest.param("by_torch()", ["process-1", "process-2"], marks=pytest.mark.slow),
    ],
)
def test_each_process_that_trains_has_its_own_trace(call: str, names: list[str], tmp_path: Path) -> None:
    script(tmp_path, TRAIN)
    ended = module("optrace", "run", "train.py", call, cwd=tmp_path)
    plain = module("train", call, cwd=tmp_path)
    assert ended.code == plain.code == 0, ended.err
    assert sorted(ended.out.splitlines()) == sorted(plain.out.splitlines())  # the weights that came of it
    with optrace.load(tmp_path / "train.optrace") as first:
        assert list(first.processes) == names
        assert not first.unreadable
        for trace in first.processes.values():
            assert kinds(trace) == [ZBS] * 3
            assert trace.complete
            sites = {(Path(event.site.file).name, event.site.function) for event in trace.events}
            assert sites == {("train.py", "train")}
            assert all("train.py" in Path(file).name for file in trace.sources if Path(file).parent == tmp_path)
        assert not [f for f in optrace.check(first) if f.severity != "hint"]
    counted = f"{9 * len(names)} events, 3 iterations, 2 parameters"
    assert ended.said[0].startswith(f"optrace: {counted}, ")
    assert len(ended.said) == 3


def test_a_child_that_is_killed_leaves_the_others_readable(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        import multiprocessing, os, signal, time
        import torch

        def train(dies):
            w = torch.ones(2, requires_grad=True)
            optimizer = torch.optim.SGD([w], lr=0.1)
            for turn in range(5):
                optimizer.zero_grad()
                w.square().sum().backward()
                optimizer.step()
            if dies:
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)

        for dies in (True, False):
            child = multiprocessing.get_context("fork").Process(target=train, args=(dies,))
            child.start()
            child.join()
        train(False)
        """,
    )
    ended = module("optrace", "run", "train.py", cwd=tmp_path)
    assert ended.code == 0
    with optrace.load(tmp_path / "train.optrace") as first:
        assert {name: trace.complete for name, trace in first.processes.items()} == {
            "main": True,
            "process-1": False,
            "process-2": True,
        }
        assert all(kinds(trace) == [ZBS] * 5 for trace in first.processes.values())


def _turn(seed: int) -> None:
    torch.manual_seed(seed)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    model(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()


def test_children_of_one_recording_after_the_other(tmp_path: Path) -> None:
    """Each belongs to the recording that was under way when it was started; a recording made again begins anew."""

    def train() -> None:
        _turn(0)
        child = multiprocessing.get_context("fork").Process(target=_turn, args=(1,))
        child.start()
        child.join(60)
        assert child.exitcode == 0

    torch.set_num_threads(1)
    again = optrace.record(tmp_path / "again.optrace", overwrite=True)
    for recording in (optrace.record(tmp_path / "once.optrace"), again, again):
        with recording:
            train()
        with optrace.load(recording.path) as first:
            assert list(first.processes) == ["main", "process-1"]
            assert all(kinds(trace) == [ZBS] for trace in first.processes.values())
    with pytest.raises(optrace.OptraceError, match="exists"):
        optrace.record(tmp_path / "once.optrace").start()
