"""Small traces that the reader's tests damage in every way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import optrace


@pytest.fixture(scope="session")
def sample_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bit of everything: details, sparse values, samples of big ones, marks, groups, zeros, gaps, a keyframe."""
    path = tmp_path_factory.mktemp("sample") / "run.optrace"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    big = torch.ones(5000, requires_grad=True)
    dense = [*model[2].parameters(), big]
    one = torch.optim.Adam(dense, lr=0.01)
    two = torch.optim.SparseAdam(list(model[0].parameters()))
    schedule = torch.optim.lr_scheduler.StepLR(one, 1)
    with optrace.record(path, capture="sampled", every=2):
        for turn in range(7):
            optrace.mark("turn", turn)
            one.zero_grad()
            two.zero_grad()
            (model(torch.randint(0, 6, (5, 2))).square().mean() + big.sum()).backward()
            torch.nn.utils.clip_grad_norm_(dense, 1.0)
            one.step()
            two.step()
            schedule.step()
            model[2].bias.data.zero_()
            optrace.log(value=0.5)
    return path


@pytest.fixture(scope="session")
def squeezed_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that goes past its budget: exact, then samples with keyframes, then fewer and fewer iterations."""
    path = tmp_path_factory.mktemp("squeezed") / "run.optrace"
    weight = torch.linspace(-1, 1, 9000).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    with optrace.record(path, budget=1_000_000):
        for turn in range(40):
            if turn % 5:  # and with a finding
                optimizer.zero_grad()
            (weight * weight).sum().backward()
            optimizer.step()
    return path
