"""The ledger of small loops, in numbers and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optrace
from optrace.errors import LookupFailed


def two_hundred_and_one_hundred(path: Path, clears: bool) -> Any:
    """x with gradients 200 and then 100."""
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.001)
    with optrace.record(path):
        for slope in (200.0, 100.0):
            if clears:
                optimizer.zero_grad()
            (slope * x).sum().backward()
            optimizer.step()
    return optrace.load(path)


def test_300_is_200_and_100(tmp_path: Path) -> None:
    with two_hundred_and_one_hundred(tmp_path / "run.optrace", clears=False) as trace:
        text = str(trace.ledger("x", "1:0"))
        assert text.startswith("grad 300 = 200 (iteration 0, ")
        assert text.endswith(", already applied) + 100 (this backward)")
        assert "test_what_the_ledger_says.py:" in text
        account = trace.ledger("x", "1:1")
        assert [c.applied for c in account.inside] == [2, 1]
        assert "already applied, applied again by this step) + 100" in str(account)
        assert [use.position for use in account.inside[0].uses] == [(0, 1), (1, 1)]
        assert [c.size for c in account.inside] == pytest.approx([200 * 2**0.5, 100 * 2**0.5])


def test_each_contribution_is_applied_once_and_cleared(tmp_path: Path) -> None:
    with two_hundred_and_one_hundred(tmp_path / "run.optrace", clears=True) as trace:
        account = trace.ledger("x", "1:2")
        assert str(account).startswith("grad 100 = 100 (iteration 1, ")
        (past,) = account.past
        assert (past.applied, past.fate, past.lost, str(past.removed_at)) == (1, "cleared", False, "1:0")
        assert str(trace.ledger("x", "0:0")) == "x: no gradient"
        assert not trace.ledger("x", "1:0").inside


def test_norms_one_element_and_many_contributions(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    with optrace.record(tmp_path / "run.optrace"):
        for turn in range(9):
            layer(torch.full((1, 3), turn + 1.0)).square().sum().backward()
    with optrace.load(tmp_path / "run.optrace") as trace:
        account = trace.ledger("weight")
        assert len(account.inside) == 9
        assert "3 older contributions (0 already applied) + ‖" in str(account)
        parts = sum(c.value for c in account.inside)
        np.testing.assert_allclose(parts, trace.value("weight", "grad"), rtol=1e-12)
        element = trace.ledger("weight", element=(1, 2))
        assert f"grad {trace.value('weight', 'grad')[1, 2]:.6g} = " in str(element)
        with pytest.raises(LookupFailed, match=r"no element \(2, 0\)"):
            trace.ledger("weight", element=(2, 0))


def test_clipping_is_an_adjustment(tmp_path: Path) -> None:
    x = torch.ones(4, requires_grad=True)
    with optrace.record(tmp_path / "run.optrace"):
        (3.0 * x).sum().backward()
        torch.nn.utils.clip_grad_norm_([x], 3.0)
        x.grad.add_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        x.sum().backward()
    with optrace.load(tmp_path / "run.optrace") as trace:
        account = trace.ledger("x")
        clip, by_hand = account.adjustments
        assert clip.kind == "clip"
        assert clip.factor == pytest.approx(0.5, rel=1e-6)
        assert by_hand.factor is None
        assert [c.altered for c in account.inside] == [2, 0]
        assert "; then clipped at 0:1 (× 0.5), changed by hand at 0:2" in str(account)
        total = sum(c.value for c in account.inside) + clip.value + by_hand.value
        np.testing.assert_allclose(total, x.grad.numpy(), rtol=1e-15)


def test_a_gradient_put_there_by_hand_replaces_what_was_applied(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    with optrace.record(tmp_path / "run.optrace"):
        optrace.mark("start")  # what is there at the first look was found, not put there
        for value in (1.0, 2.0):
            x.grad = torch.full((2,), value)
            optimizer.step()
    with optrace.load(tmp_path / "run.optrace") as trace:
        account = trace.ledger("x")
        assert [(c.origin, c.applied) for c in account.inside] == [("by hand", 1)]
        assert [(c.origin, c.applied, c.fate) for c in account.past] == [("by hand", 1, "replaced")]
        assert "put there by hand" in str(trace.ledger("x"))


def test_what_a_closure_evaluated_is_applied_by_its_step(tmp_path: Path) -> None:
    x = torch.tensor([4.0, -3.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([x], max_iter=4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (x - 1).pow(4).sum()
        loss.backward()
        return loss

    with optrace.record(tmp_path / "run.optrace"):
        optimizer.step(closure)
    with optrace.load(tmp_path / "run.optrace") as trace:
        account = trace.ledger("x")
        every = [*account.past, *account.inside]
        assert len(every) >= 3
        assert {c.applied for c in every} == {1}
        assert {use.seq for c in every for use in c.uses} == {len(trace.events) - 1}


def test_past_the_budget_the_sample_is_what_it_speaks_of(tmp_path: Path) -> None:
    x = torch.ones(20_000, requires_grad=True)
    with optrace.record(tmp_path / "run.optrace", capture="sampled"):
        for factor in (1.0, 2.0, 3.0):
            (factor * x).sum().backward()
    with optrace.load(tmp_path / "run.optrace") as trace:
        account = trace.ledger("x")
        assert str(account).startswith("grad 6 = 1 (")
        assert account.inside[2].value.size < 20_000
        np.testing.assert_array_equal(account.inside[2].value, 3.0)


def test_a_step_that_changes_nothing_applies_nothing(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.0)
    with optrace.record(tmp_path / "run.optrace"):
        x.sum().backward()
        optimizer.step()
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert [c.applied for c in trace.ledger("x").inside] == [0]


def test_a_parameter_that_is_trained_by_hand(tmp_path: Path) -> None:
    w = torch.zeros(2, requires_grad=True)
    with optrace.record(tmp_path / "run.optrace"):
        for turn in range(3):
            ((w - 1) ** 2).sum().backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
            if turn == 1:
                w.grad = None
            optrace.mark("turn", turn)
    with optrace.load(tmp_path / "run.optrace") as trace:
        kinds = [event.kind for event in trace.events]
        one = ["backward", "mutation", "mark"]
        assert kinds == [*one, "backward", "mutation", "zero_grad", "mark", *one]
        account = trace.ledger("w")
        counts = [contribution.applied for contribution in (*account.past, *account.inside)]
        assert counts == [2, 1, 1]  # the first was not cleared before the second update
        first = account.past[0]
        assert [use.optimizer for use in first.uses] == [None, None]
        assert not first.lost
        updates = [event.seq for event in trace.events if event.kind == "mutation"]
        assert [use.seq for use in first.uses] == updates[:2]
        assert "applied by this change by hand" in str(trace.ledger("w", at=updates[0]))
        assert "applied again by this change by hand" in str(trace.ledger("w", at=updates[1]))
