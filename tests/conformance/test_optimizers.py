"""Optimizers from the package index, by authors who have nothing to do with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checks.tasks import batches, mlp
from torch.nn import functional as F

from conformance.matrix import Row, Rows, extra, find, hold

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

rows = Rows("Third-party optimizers")
TURN = "zero_grad backward step"


@rows.row(
    "`lion-pytorch`",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="no `zero_grad`",
    code="OT101",
)
def lion(broken: bool) -> Any:
    model = mlp()
    optimizer = extra("lion_pytorch").Lion(model.parameters(), lr=1e-2)
    for inputs, targets in batches(6):
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model, optimizer


@rows.row(
    "`prodigyopt`",
    *["zero_grad backward clip step scheduler_step"] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="clipped after the step",
    code="OT301",
)
def prodigy(broken: bool) -> Any:
    model = mlp()
    optimizer = extra("prodigyopt").Prodigy(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    for inputs, targets in batches(6):
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        if broken:
            optimizer.step()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        scheduler.step()
    return model, optimizer


@rows.row(
    "`schedulefree`",
    TURN,
    TURN,
    TURN + " mutation",
    TURN,
    TURN,
    TURN + " mutation",
    ledger={"applied 1×": 6 * 4},
    bug="cleared between `backward` and `step`",
    code="OT103",
)
def schedule_free(broken: bool) -> Any:
    model = mlp()
    optimizer = extra("schedulefree").AdamWScheduleFree(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.train()
        for inputs, targets in batches(3):
            if not broken:
                optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            if broken:
                optimizer.zero_grad()
            optimizer.step()
        optimizer.eval()
    return model, optimizer


@rows.row(
    "`came-pytorch`",
    *["backward backward step zero_grad"] * 4,
    ledger={"applied 1×": 8 * 4},
    bug="stepped after every micro-batch",
    code="OT101",
)
def came(broken: bool) -> Any:
    model = mlp()
    optimizer = extra("came_pytorch").CAME(model.parameters(), lr=1e-3)
    for index, (inputs, targets) in enumerate(batches(8)):
        (F.mse_loss(model(inputs), targets) / 2).backward()
        if index % 2 == 1 or broken:
            optimizer.step()
        if index % 2 == 1:
            optimizer.zero_grad()
    return model, optimizer


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
