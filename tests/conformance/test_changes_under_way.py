"""Models and optimizers that change while they are trained, and loops that are no plain loops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checks.tasks import batches, mlp
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from conformance.matrix import Row, Rows, find, hold

rows = Rows("Changes under way")
TURN = "zero_grad backward step"


@rows.row(
    "alternating freezing",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 2},
    bug="frozen while gradients were still there, and never cleared",
    code="OT102",
)
def freezing(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    if broken:
        F.mse_loss(model(batches(1)[0][0]), batches(1)[0][1]).backward()
        optimizer.step()
    for index, (inputs, targets) in enumerate(batches(6)):
        model[0].requires_grad_(index % 2 == 0 and not broken)
        model[2].requires_grad_(index % 2 == 1)
        if not broken:
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model


@rows.row(
    "layers added",
    *[TURN] * 6,
    ledger={"applied 1×": 3 * 4 + 3 * 6},
    bug="the new layer is never given to the optimizer",
    code="OT107",
)
def added(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for index, (inputs, targets) in enumerate(batches(6)):
        if index == 3:
            layer = nn.Linear(1, 1)
            model.append(layer)
            if not broken:
                optimizer.add_param_group({"params": layer.parameters(), "lr": 1e-3})
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model, optimizer


@rows.row(
    "layers replaced",
    *[TURN] * 8,
    ledger={"applied 1×": 8 * 4},
    bug="the optimizer keeps the old layer",
    code="OT502",
)
def replaced(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index, (inputs, targets) in enumerate(batches(8)):
        if index == 4:
            model[2] = nn.Linear(8, 1)
            if not broken:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model


@rows.row(
    "optimizers made anew each epoch",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="one with state (Adam) is made anew, its moments start again",
    code="OT205",
)
def anew(broken: bool) -> Any:
    model = mlp()
    for epoch in range(2):
        make = torch.optim.Adam if broken else torch.optim.SGD
        optimizer = make(model.parameters(), lr=0.05 / (epoch + 1))
        for inputs, targets in batches(3):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    return model


@rows.row(
    "models moved or cast after the optimizer was made",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="a copy is cast and trained, the optimizer holds the first",
    code="OT108",
)
def cast(broken: bool) -> Any:
    import copy

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    trained = (copy.deepcopy(model) if broken else model).double().to("cpu")
    for inputs, targets in batches(6):
        optimizer.zero_grad()
        F.mse_loss(trained(inputs.double()), targets.double()).backward()
        optimizer.step()
    return model, trained


@rows.row(
    "loops in threads",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="no `zero_grad`",
    code="OT101",
)
def in_thread(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def train() -> None:
        for inputs, targets in batches(6):
            if not broken:
                optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    return model, optimizer


@rows.row(
    "exceptions in the middle",
    *[TURN, TURN, "zero_grad backward zero_grad backward step", TURN, "zero_grad backward zero_grad backward step"],
    ledger={"applied 1×": 5 * 4, "cleared": 2 * 2},
    bug="the failed batch's half gradient is kept, and the window goes on",
    code="OT101",
)
def exceptions(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index, (inputs, targets) in enumerate(batches(7)):

        def fail(gradient: torch.Tensor, index: int = index) -> None:
            if index in (2, 5):
                raise ValueError("bad batch")

        try:
            if not broken:
                optimizer.zero_grad()
            hidden = torch.tanh(model[0](inputs))
            hidden.register_hook(fail)
            F.mse_loss(model[2](hidden), targets).backward()
            optimizer.step()
        except ValueError:
            continue
    return model


@rows.row(
    "generators",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="`step` before `backward`",
    code="OT103",
)
def generators(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def train() -> Iterator[float]:
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            if broken:
                optimizer.step()
            loss.backward()
            if not broken:
                optimizer.step()
            yield loss.item()

    return list(train()), model


@rows.row(
    "`DataLoader` workers",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="gradients cleared before the step",
    code="OT103",
)
def workers(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    data = TensorDataset(*(torch.cat(part) for part in zip(*batches(6), strict=True)))
    loader = DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context="fork")
    for inputs, targets in loader:
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        if broken:
            optimizer.zero_grad()
        optimizer.step()
    return model


@rows.row(
    "nested functions",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="the callback that clears is not registered",
    code="OT101",
)
def nested(broken: bool) -> Any:
    class Loop:
        def __init__(self) -> None:
            self.model = mlp()
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
            self.before: list[Any] = [] if broken else [lambda: self.optimizer.zero_grad()]

        def run(self) -> None:
            for batch in batches(6):
                for callback in self.before:
                    callback()
                self.update(*batch)

        def update(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
            def loss() -> torch.Tensor:
                return F.mse_loss(self.model(inputs), targets)

            loss().backward()
            self.optimizer.step()

    loop = Loop()
    loop.run()
    return loop.model, loop.optimizer


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
