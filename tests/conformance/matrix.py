"""The conformance matrix: what every row of it holds.

A row is one loop, written as people write it, with a switch that puts one bug into it. `hold` runs the
correct loop bare and recorded, and holds the trace to what really happened; `find` runs the broken one.
"""

from __future__ import annotations

import gc
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from record.witness import bits, same

import optrace
from optrace.trace.reader import Trace

CALLS = {
    "zero_grad": "zero_grad",
    "backward": "backward(",
    "step": ".step(",
    "clip": "clip_grad",
    "scheduler_step": "scheduler.step(",
    "unscale": ".unscale_(",
    "scaler_update": ".update(",
    "load_state": "load_state_dict(",
    "mark": "optrace.",
    "mutation": "",
}
"""What stands in the line of the user's file that an event of a kind names."""


@dataclass(frozen=True)
class Row:
    """One row. `run(broken)` trains and returns whatever recording must leave as it is."""

    name: str
    run: Callable[[bool], Any]
    turns: tuple[str, ...]
    """The kinds of every iteration's events in order; `>` for each call that encloses one."""
    ledger: Mapping[str, int]
    """How many contributions, over all parameters, had which fate."""
    bug: str
    """What the switch breaks."""
    code: str
    """The rule that must find it."""
    also: tuple[str, ...] = ()
    """Other rules that rightly speak of the same bug."""
    calls: Mapping[str, str] = field(default_factory=dict)
    """Where an event's line holds another text than `CALLS` says."""
    needs: str = ""
    """`cuda` where the row needs a GPU."""
    says: str = ""
    """What optrace must say once on stderr; nothing where empty."""

    def __str__(self) -> str:
        return self.name


class Rows(Sequence[Row]):
    """The rows of one group, in the order of the README's table."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.rows: list[Row] = []
        self.others: dict[str, tuple[str, str]] = {}
        """Rows that a test of their own holds: name → the bug and its code."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def row(
        self, name: str, *turns: str, ledger: Mapping[str, int], bug: str, code: str, **more: Any
    ) -> Callable[[Callable[[bool], Any]], Callable[[bool], Any]]:
        """Make the decorated function a row."""

        def add(run: Callable[[bool], Any]) -> Callable[[bool], Any]:
            self.rows.append(Row(name, run, turns, ledger, bug, code, **more))
            return run

        return add

    def held_by(self, name: str, bug: str, code: str) -> Callable[[Any], Any]:
        """The decorated test holds the row by itself."""

        def add(test: Any) -> Any:
            self.others[name] = (bug, code)
            return test

        return add

    @property
    def table(self) -> dict[str, tuple[str, str]]:
        """What the README shows: name → the bug put in, and its code."""
        return {row.name: (row.bug, row.code) for row in self.rows} | self.others


def hold(row: Row, path: Path, capfd: Any) -> None:
    """The correct loop: recorded as it happened, nothing found, nothing changed."""
    skip_without(row.needs)
    torch.manual_seed(7)
    bare = plain([row.run(False), torch.random.get_rng_state()])
    torch.manual_seed(7)
    with recording(path):
        alive = row.run(False)  # until the recording has seen it for the last time
    same(bare, plain([alive, torch.random.get_rng_state()]))
    says = [line for line in capfd.readouterr().err.splitlines() if line.startswith("optrace:")]
    if row.says:
        assert len(says) == 1, says
        assert row.says in says[0]
    else:
        assert not says, says
    with optrace.load(path) as trace:
        assert turns(trace) == row.turns, "\n" + "\n".join(turns(trace))
        check_sites(trace, row)
        assert fates(trace) == dict(row.ledger)
        found = optrace.check(trace)
        assert not [f for f in found if f.severity != "hint"], "\n".join(map(str, found))


def find(row: Row, path: Path) -> None:
    """The broken loop: the right finding, at a line of the user's, and nothing else that it did not cause."""
    skip_without(row.needs)
    torch.manual_seed(7)
    with recording(path):
        alive = row.run(True)
    del alive
    found = optrace.check(path)
    right = [f for f in found if f.code == row.code]
    assert right, "\n".join(map(str, found)) or "nothing was found"
    assert all(Path(f.file).name == Path(inspect.getfile(row.run)).name for f in right), right
    stray = [f for f in found if f.severity != "hint" and f.code not in (row.code, *row.also) and not f.caused_by]
    assert not stray, "\n".join(map(str, stray))


@contextmanager
def recording(path: Path) -> Iterator[optrace.record]:
    gc.collect()  # models of earlier tests are not this one's
    with optrace.record(path) as recorded:
        yield recorded
    assert recorded.failure is None, recorded.failure


def plain(value: Any) -> Any:
    """Tensors copied, modules and optimizers as what they hold: to be compared bit for bit."""
    if isinstance(value, torch.nn.Module):
        return plain(dict(value.state_dict()))
    if isinstance(value, torch.optim.Optimizer):
        return plain([list(state.items()) for state in value.state.values()])
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), "meta" if value.is_meta else bits(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def turns(trace: Trace) -> tuple[str, ...]:
    """Every iteration as one text."""
    return tuple(
        " ".join(">" * event.depth + event.kind for event in iteration.events) for iteration in trace.iterations
    )


def check_sites(trace: Trace, row: Row) -> None:
    """Every event names a line of the loop's own file, and the line that made it."""
    lines, first = inspect.getsourcelines(inspect.getmodule(row.run) or row.run)
    calls = {**CALLS, **row.calls}
    for event in trace.events:
        site = event.site
        assert site is not None, event
        assert site.file == inspect.getfile(row.run), site
        line = lines[site.line - max(first, 1)]
        assert event.by_hand or calls[event.kind] in line, f"{event.position} {event.kind}: {line.strip()}"


def fates(trace: Trace) -> dict[str, int]:
    """How many contributions were applied how often; those never applied by what became of them."""
    found: Counter[str] = Counter()
    for parameter in trace.parameters.values():
        account = trace.ledger(parameter)
        for contribution in (*account.past, *account.inside):
            if contribution.applied:
                found[f"applied {contribution.applied}×"] += 1
            else:
                found[contribution.fate] += 1
    return dict(found)


def skip_without(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


def extra(module: str) -> Any:
    """A library of the extra `frameworks`; the test is skipped where that is not installed."""
    return pytest.importorskip(module, reason="the extra `frameworks` is not installed")


def value(trace: Trace, name: str, kind: str = "param", at: Any = None) -> np.ndarray[Any, Any]:
    """A value that must be there."""
    found = trace.value(name, kind, at)
    assert found is not None, (name, kind, at)
    return found
