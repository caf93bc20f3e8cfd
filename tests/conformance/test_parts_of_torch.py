"""Parts of torch that train in their own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checks.tasks import batches, mlp
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import optrace
from conformance.matrix import Row, Rows, find, hold

rows = Rows("Parts of torch")
TURN = "zero_grad backward step"


@rows.row(
    "`torch.utils.checkpoint`",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 10},
    bug="a checkpointed part is detached",
    code="OT109",
)
def checkpointed(broken: bool) -> Any:
    front, body, head = nn.Linear(4, 4), mlp(outputs=4), mlp()
    optimizer = torch.optim.Adam([*front.parameters(), *body.parameters(), *head.parameters()], lr=1e-2)
    for index, (inputs, targets) in enumerate(batches(6)):
        optimizer.zero_grad()
        if index % 3 == 2:
            hidden = checkpoint_sequential(body, 2, front(inputs), use_reentrant=False)
        else:
            hidden = checkpoint(body, front(inputs), use_reentrant=bool(index % 3))
        outputs = head(hidden.detach() if broken else hidden)
        F.mse_loss(outputs, targets).backward()
        optimizer.step()
    return body, head, optimizer


@rows.row(
    "`torch.optim.swa_utils`",
    *["zero_grad backward step scheduler_step"] * 4,
    *["zero_grad backward step scheduler_step mutation"] * 4,
    ledger={"applied 1×": 8 * 6},
    bug="the averaged model is trained, the optimizer holds the other",
    code="OT108",
)
def averaged(broken: bool) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    average = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = SWALR(optimizer, swa_lr=0.01, anneal_epochs=4)
    for index, (inputs, targets) in enumerate(batches(8)):
        optimizer.zero_grad()
        F.mse_loss((average if broken else model)(inputs), targets).backward()
        optimizer.step()
        scheduler.step()
        if index >= 4:
            average.update_parameters(model)
    update_bn([inputs for inputs, _ in batches(3)], average)
    return model, average


class Symmetric(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.triu() + weight.triu(1).transpose(-1, -2)


@rows.row(
    "`nn.utils.parametrize`",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 7},
    bug="parametrized after the optimizer was made",
    code="OT502",
)
def parametrized(broken: bool) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    if broken:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches(3):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    parametrize.register_parametrization(model[0], "weight", Symmetric())
    parametrizations.spectral_norm(model[2])
    parametrizations.weight_norm(model[4])
    if not broken:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for inputs, targets in batches(6):
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model


@rows.row(
    "`torch.func` with an optimizer",
    *["zero_grad mutation step"] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="the gradients are never assigned",
    code="OT104",
)
def functional(broken: bool) -> Any:
    model = mlp()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss_of(values: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(torch.func.functional_call(model, values, (inputs,)), targets)

    for inputs, targets in batches(6):
        optimizer.zero_grad()
        gradients = torch.func.grad(loss_of)({n: p.detach() for n, p in parameters.items()}, inputs, targets)
        if not broken:
            for name, parameter in parameters.items():
                parameter.grad = gradients[name]
        optimizer.step()
    return model, optimizer


@rows.row(
    "`torch.func` without `.grad`",
    *["mark mutation"] * 5,
    "mark",
    ledger={},
    bug="steps so long that the weights become infinite",
    code="OT403",
    calls={"mark": "optrace.log"},
)
def values_only(broken: bool) -> Any:
    model = mlp()
    parameters = dict(model.named_parameters())

    def loss_of(values: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(torch.func.functional_call(model, values, (inputs,)), targets)

    for inputs, targets in batches(6):
        values = {name: parameter.detach() for name, parameter in parameters.items()}
        gradients, loss = torch.func.grad_and_value(loss_of)(values, inputs, targets)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter -= (1e20 if broken else 0.05) * gradients[name]
        optrace.log(loss=loss.item())
    return model


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
