"""A bug has consequences that other rules would speak of too: only the cause is reported, or it ranks above them."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def causes(run) -> list[str]:
    """Codes above a hint that follow from nothing."""
    return [f.code for f in run.loud if not f.caused_by]


@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
def test_a_missing_zero_grad_explains_what_it_leads_to(rate: float, recorded: Recorded) -> None:
    # From a slow drift over an explosion to NaN.
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for inputs, targets in batches(120):
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert causes(run) == ["OT101"]
    assert "OT405" not in run.codes
    assert run.findings[0].code == "OT101"


def test_scaled_gradients_explain_the_explosion(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        for inputs, targets in batches(60):
            optimizer.zero_grad()
            scaler.scale(F.mse_loss(model(inputs), targets)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e6)
            optimizer.step()
    assert causes(run) == ["OT305"]


def test_divergence_that_ends_in_nan_is_one_finding(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
        for inputs, targets in batches(200):
            optimizer.zero_grad()
            F.mse_loss(model(inputs).exp(), targets).backward()
            optimizer.step()
    assert len([code for code in run.codes if code.startswith("OT4")]) == 1


def test_a_replaced_layer_is_not_also_an_unused_one(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp(outputs=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model[2] = nn.Linear(8, 1)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert causes(run) == ["OT502"]


def test_an_optimizer_of_the_last_model_is_not_a_replaced_parameter(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(2):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            model = mlp()
    assert causes(run) == ["OT108"]


def test_a_wrong_cadence_explains_the_rate_of_zero(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=5)
        for _ in range(5):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                scheduler.step()
    zero = [f for f in run.findings if f.code == "OT203"]
    assert [f.caused_by for f in zero] == ["OT202"]


def test_nan_under_a_scaler_is_told_by_its_skipped_steps(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        for index, (inputs, targets) in enumerate(batches(40)):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            scaler.scale(loss * float("nan") if index > 10 else loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert causes(run) == ["OT306"]


def test_the_best_weights_restored_each_epoch_are_no_bug(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(4):
            kept = copy.deepcopy(model.state_dict())
            for inputs, targets in batches(6):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            model.load_state_dict(kept)
    assert causes(run) == []
