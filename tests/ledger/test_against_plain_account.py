"""The ledger against a plain account, over generated loops."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import optrace
from ledger.plain import Action, World
from ledger.walk import check_counts
from optrace.ledger import view as view_module
from optrace.ledger.account import Account

INDICES = st.integers(0, 3)
REACH = st.sets(INDICES, min_size=1)
FACTORS = st.sampled_from([1.0, -1.0, 0.5, 3.0, 100.0])
WHICH = st.integers(0, 1)

ACTIONS = st.one_of(
    st.tuples(st.just("backward"), REACH, FACTORS),
    st.tuples(st.just("backward"), REACH, FACTORS, st.just(True)),
    st.tuples(st.just("step"), WHICH),
    st.tuples(st.just("step"), WHICH),
    st.tuples(st.just("closure"), WHICH, st.booleans(), REACH, FACTORS, st.sampled_from([False, False, True])),
    st.tuples(st.just("zero"), WHICH, st.booleans()),
    st.tuples(st.just("module_zero"), st.booleans(), st.booleans()),
    st.tuples(st.just("clear_by_hand"), INDICES, st.booleans()),
    st.tuples(st.just("scale_by_hand"), INDICES, st.sampled_from([0.5, 2.0])),
    st.tuples(st.just("set_by_hand"), INDICES, st.sampled_from([7.0, -0.25])),
    st.tuples(st.just("clip"), REACH, st.sampled_from([0.1, 1.0])),
    st.tuples(st.just("freeze"), INDICES, st.booleans()),
    st.just(("mark",)),
)
OWNERS = st.tuples(st.sets(INDICES).map(lambda own: own | {3}), st.sets(INDICES, min_size=1))
KINDS = st.lists(st.sampled_from(["sgd", "momentum", "adam"]), min_size=2, max_size=2)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    owners=OWNERS,
    kinds=KINDS,
    actions=st.lists(ACTIONS, min_size=3, max_size=40),
    chunk=st.sampled_from([1, 3, 65_536]),
)
def test_generated_loops(owners: tuple[set[int], ...], kinds: list[str], actions: list[Action], chunk: int) -> None:
    gc.collect()  # the modules of the last example
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.optrace"
        world = World(list(owners), kinds)
        models = {"left": world.left, "right": world.right}
        with optrace.record(path, model=models, optimizer=world.optimizers) as recording:
            world.act(("mark",))
            for action in actions:
                world.act(action)
            world.act(("mark",))
        assert recording.failure is None
        original, view_module.views.__defaults__ = view_module.views.__defaults__, (chunk, None)
        try:
            with optrace.load(path) as trace:
                compare(world, trace)
                check_counts(trace, chunk)
        finally:
            view_module.views.__defaults__ = original


def compare(world: World, trace: Any) -> None:
    (bare,) = (parameter for parameter in trace.parameters.values() if parameter.shape == (3,))
    chosen = [*map(trace.parameter, ("left.weight", "left.bias", "right.weight")), bare]
    backwards = [event.seq for event in trace.events if event.kind == "backward"]
    steps = [event.seq for event in trace.events if event.kind == "step"]
    looks = [event.seq for event in trace.events if event.kind == "mark"]
    assert len(backwards) == world.backwards
    assert len(steps) == world.steps
    for seq, shot in zip(looks, world.snapshots, strict=True):
        for index, parameter in enumerate(chosen):
            inside, past, gradient = shot[index]
            account = trace.ledger(parameter, seq)
            assert described(account.inside, backwards, steps) == [told(item) for item in inside], account
            removed = described(account.past, backwards, steps)
            assert removed == [told(item) for item, _ in past], (account, list(account.past))
            assert [c.replaced for c in account.past] == [replaced for _, replaced in past]
            assert account.present == (gradient is not None)
            assert len(account.fresh) == sum(not item.steps for item in inside)
            adds_up(account, gradient)


def described(contributions: Any, backwards: list[int], steps: list[int]) -> list[tuple[str, list[int]]]:
    found = []
    for contribution in contributions:
        by_hand = contribution.origin == "by hand"
        origin = "by hand" if by_hand else f"backward {backwards.index(contribution.seq)}"
        used = sorted({steps.index(use.seq) for use in contribution.uses})
        assert contribution.applied == len(used)
        found.append((origin, used))
    return found


def told(item: Any) -> tuple[str, list[int]]:
    return item.origin, sorted(item.steps)


def adds_up(account: Account, gradient: Any) -> None:
    """Contributions and adjustments are the gradient, but for the rounding of adding them up in float64."""
    if gradient is None:
        return
    held = gradient.numpy().astype(np.float64)
    total = np.zeros_like(held)
    largest = 0.0
    terms = [c.value for c in account.inside] + [a.value for a in account.adjustments]
    for term in terms:
        assert term is not None
        total += term
        largest = max(largest, float(np.abs(term).max(initial=0)))
    assert np.abs(total - held).max(initial=0) <= 2.0**-52 * (len(terms) + 1) * max(largest, 1e-300)
