"""The straight path of a steady loop writes what the general one writes, byte for byte, whatever comes in between."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange import OPTIMIZERS, STRANGE, Loop
from torch import nn

import optrace
from optrace.recording.steady import Steady
from optrace.trace.format import RECORD_FIELDS

TIMED = ("time", "duration", "thread")  # a thread that ends leaves its identifier, and so its number, to another
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, about what is strange here


def record(path: Path, make: Callable[[], Loop], turns: int, straight: bool, **options: Any) -> list[Any]:
    """Record the loop. What came of it, and whether it failed in its own way: some of what happens must fail."""
    loop, failed = make(), False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steady, "off", not straight)
        with optrace.record(path, **options) as recording:
            try:
                loop.run(turns)
            except (RuntimeError, KeyError, IndexError):
                failed = True
        assert recording.failure is None
    names = [kept for kept in loop.kept if isinstance(kept, str)]
    return [failed, names, *(p.detach().tolist() for p in loop.model.parameters())]


def content(path: Path) -> dict[str, Any]:
    """All that a trace says, but for times."""
    found: dict[str, Any] = {}
    records = np.fromfile(path / "events.bin", np.dtype(RECORD_FIELDS))
    for name in records.dtype.names or ():
        if name not in TIMED:
            found[f"record {name}"] = records[name].tobytes() if name == "loss" else records[name].tolist()
    found["tensors"] = b"".join(part.read_bytes() for part in sorted(path.glob("tensors-*.bin"))).rstrip(b"\0")
    index = sqlite3.connect(path / "index.sqlite")
    names = [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in sorted(set(names) - {"segment", "meta", "thread"}):
        found[f"table {name}"] = list(index.execute(f"SELECT * FROM {name}"))
    index.close()
    return found


def compare(folder: Path, make: Callable[[], Loop], turns: int, **options: Any) -> dict[str, Any]:
    came = []
    for straight in (True, False):  # from the same line
        came.append(record(folder / f"{straight}.optrace", make, turns, straight, **options))
        gc.collect()
    assert came[0] == came[1]
    found, general = content(folder / "True.optrace"), content(folder / "False.optrace")
    for name in general:
        assert found[name] == general[name], name
    return general


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_steady_loop_goes_the_straight_way(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    write = Steady._write
    monkeypatch.setattr(Steady, "_write", lambda *args: (taken.append(args[1].kind), write(*args)))
    found = compare(tmp_path, lambda: Loop(kind, 4, {}), 20)
    assert len(found["record kind"]) == 60
    assert {name: taken.count(name) for name in set(taken)} == {
        "zero_grad": 19,
        "backward": 15,  # at 1, 2, 4, 8 and 16 the graph is searched
        "step": 19,
    }


@pytest.mark.parametrize("part", range(6))
def test_strange_things(part: int, tmp_path: Path) -> None:
    names = STRANGE[part::6]
    strange = {(2 + 4 * number, (number + part) % 5): name for number, name in enumerate(names)}
    compare(tmp_path, lambda: Loop("adam", 4, strange), 4 * len(names) + 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_one_strange_thing(kind: str, name: str, tmp_path: Path) -> None:
    compare(tmp_path, lambda: Loop(kind, 4, {(3 + 3 * place, place): name for place in range(5)}), 19)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(OPTIMIZERS)),
    width=st.sampled_from([1, 4, 40]),
    strange=st.dictionaries(
        st.tuples(st.integers(1, 14), st.integers(0, 4)), st.sampled_from(STRANGE), min_size=1, max_size=8
    ),
)
def test_any_strange_things(
    kind: str, width: int, strange: dict[tuple[int, int], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    compare(tmp_path_factory.mktemp("steady"), lambda: Loop(kind, width, strange), 15)


@pytest.mark.parametrize(
    "options",
    [
        {"capture": "stats"},
        {"every": 3},
        {"first": 5, "until": 9},
        {"params": "0.*"},
    ],
    ids=str,
)
def test_less_than_everything(options: dict[str, Any], tmp_path: Path) -> None:
    assert compare(tmp_path, lambda: Loop("adam", 100, {}), 20, **options)["record kind"]


class Heads(Loop):
    """Heads of one shape take turns, so that another gradient is there each time."""

    def __init__(self, kind: str, order: list[int]) -> None:
        super().__init__(kind, 4, {})
        self.model = nn.ModuleList([nn.Linear(3, 3), *(nn.Linear(3, 1) for _ in range(3))])
        self.optimizer = self.make(self.model.parameters())
        self.order = iter(order)

    def loss(self) -> torch.Tensor:
        return self.model[1 + next(self.order)](self.model[0](self.inputs)).square().mean()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 2), min_size=12, max_size=24), kind=st.sampled_from(list(OPTIMIZERS)))
def test_heads_that_take_turns(order: list[int], kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = compare(tmp_path_factory.mktemp("heads"), lambda: Heads(kind, order), len(order))
    assert len(content["record kind"]) == 3 * len(order)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_heads_that_take_turns_evenly(kind: str, tmp_path: Path) -> None:
    compare(tmp_path, lambda: Heads(kind, [turn % 2 for turn in range(30)]), 30)
