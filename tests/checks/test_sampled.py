"""Rules over values that were not kept whole: they use the sample, and say so; and over gaps, where they are silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import optrace


def never_cleared(path: Path, turns: int = 12, **options: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Linear(100, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    with optrace.record(path, **options):
        for _ in range(turns):
            model(torch.ones(1, 100)).square().sum().backward()
            optimizer.step()
    return {f.code: f for f in optrace.check(path)}


def test_it_says_that_it_used_the_sample(tmp_path: Path) -> None:
    whole = never_cleared(tmp_path / "whole.optrace")["OT101"]
    sampled = never_cleared(tmp_path / "sampled.optrace", capture="sampled", budget="1MB")["OT101"]
    assert "sample" not in whole.message
    assert "sampled" not in whole.evidence
    assert sampled.message.endswith("These numbers are of a sample of the elements: the values were not kept whole.")
    assert sampled.evidence["sampled"] is True
    assert whole.evidence["stale_share"] == pytest.approx(sampled.evidence["stale_share"], abs=0.1)


def test_the_same_findings_wherever_two_iterations_stand_together(tmp_path: Path) -> None:
    """What a thinned trace finds, the whole one finds too; what it needs a row of iterations for, it may not find."""
    whole = never_cleared(tmp_path / "whole.optrace", 40)
    window = never_cleared(tmp_path / "window.optrace", 40, first=20, until=30)
    every = never_cleared(tmp_path / "every.optrace", 40, every=5)
    assert "OT101" in window
    assert window.keys() <= whole.keys()
    assert every.keys() <= whole.keys()
