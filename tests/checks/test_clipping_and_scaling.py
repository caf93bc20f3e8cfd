"""OT301–OT306: clipping and mixed precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp
from checks.test_order_schedule_state import source_line

# OT301 clip-after-step


def test_clipped_after_the_step(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # here
    found = run.one("OT301")
    assert found.severity == "error"
    assert found.count == 11  # the last clip is followed by nothing
    assert "# here" in source_line(found)


def test_clipped_by_value_before_clearing_in_functions(recorded: Recorded) -> None:
    def update(model, optimizer, loss):
        loss.backward()
        optimizer.step()

    def tidy(model, optimizer):
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.zero_grad()

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        for inputs, targets in batches():
            update(model, optimizer, F.mse_loss(model(inputs), targets))
            tidy(model, optimizer)
    assert run.one("OT301").count == 12


def test_clipped_between_backward_and_step_of_the_second_optimizer(correct: Recorded) -> None:
    with correct() as run:
        first, second = mlp(), mlp(hidden=6)
        opt_first, opt_second = (torch.optim.SGD(m.parameters(), lr=0.02) for m in (first, second))
        for inputs, targets in batches():
            opt_first.zero_grad()
            opt_second.zero_grad()
            (F.mse_loss(first(inputs), targets) + F.mse_loss(second(inputs), targets)).backward()
            nn.utils.clip_grad_norm_(first.parameters(), 1.0)
            opt_first.step()
            nn.utils.clip_grad_norm_(second.parameters(), 1.0)
            opt_second.step()
    assert "OT301" not in run.codes


# OT302 clip-before-unscale


def test_clipped_while_scaled(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for inputs, targets in batches():
            optimizer.zero_grad()
            scaler.scale(F.mse_loss(model(inputs), targets)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # here
            scaler.step(optimizer)
            scaler.update()
    found = run.one("OT302")
    assert found.severity == "error"
    assert found.count == 12
    assert found.evidence["scale"] == 1024.0
    assert "# here" in source_line(found)


def test_clipped_while_scaled_and_overflown(recorded: Recorded) -> None:
    with recorded() as run:
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.02)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        for _ in range(4):
            optimizer.zero_grad()
            scaler.scale((4 * weight).sum()).backward()  # 4 * 2 ** 127 is more than a float32 holds
            nn.utils.clip_grad_norm_([weight], 1.0)
            scaler.step(optimizer)
            scaler.update()
    found = run.one("OT302")
    assert "inf" not in found.message
    assert "loss scale" in found.message


def test_clipped_and_only_then_unscaled(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu")
        for index, (inputs, targets) in enumerate(batches(16)):
            scaler.scale(F.mse_loss(model(inputs), targets) / 2).backward()
            if index % 2:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
    assert run.one("OT302").count == 8


# OT303 clip-per-microbatch


def test_clipped_after_every_micro_batch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for index, (inputs, targets) in enumerate(batches(24)):
            (F.mse_loss(model(inputs), targets) / 4).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)  # here
            if index % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    found = run.one("OT303")
    assert found.severity == "warning"
    assert found.count == 6
    assert "# here" in source_line(found)


def test_clipped_in_an_inner_loop(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for inputs, targets in batches(8, size=16):
            optimizer.zero_grad()
            for piece, wanted in zip(inputs.split(8), targets.split(8), strict=True):
                F.mse_loss(model(piece), wanted).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert run.one("OT303").count == 8


def test_clipped_once_per_window_and_per_layer(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for index, (inputs, targets) in enumerate(batches(24)):
            (F.mse_loss(model(inputs), targets) / 4).backward()
            if index % 4 == 3:
                for layer in (model[0], model[2]):
                    nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
                optimizer.step()
                optimizer.zero_grad()
    assert "OT303" not in run.codes


# OT304 clip-counts-stale


def test_a_frozen_looking_body_fills_the_norm(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        body, head = nn.Linear(4, 16), nn.Linear(16, 1)
        model = nn.Sequential(body, nn.ReLU(), head)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.02)
        for inputs, targets in batches(30):
            optimizer.zero_grad()  # clears the head alone
            F.mse_loss(model(inputs), targets * 3).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)  # here
            optimizer.step()
    found = run.one("OT304")
    assert found.severity == "warning"
    assert found.evidence["share"] > 0.5
    assert "# here" in source_line(found)


def test_both_players_under_one_clip(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        actor, critic = nn.Linear(4, 1), nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
        both = [*actor.parameters(), *critic.parameters()]
        opt_actor = torch.optim.Adam(actor.parameters(), lr=0.01)
        opt_critic = torch.optim.Adam(critic.parameters(), lr=0.01)
        for inputs, targets in batches(20):
            opt_critic.zero_grad()
            F.mse_loss(critic(torch.cat([inputs, targets], dim=1)), 5 * targets).backward()
            opt_critic.step()
            opt_actor.zero_grad()
            (-critic(torch.cat([inputs, actor(inputs)], dim=1)).mean() * 5).backward()
            nn.utils.clip_grad_norm_(both, 0.5)
            opt_actor.step()
    assert "OT304" in run.codes


def test_only_what_is_stepped_is_clipped(correct: Recorded) -> None:
    with correct() as run:
        torch.manual_seed(0)
        body, head = nn.Linear(4, 16), nn.Linear(16, 1)
        model = nn.Sequential(body, nn.Tanh(), head)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets * 3).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    assert "OT304" not in run.codes


# OT305 scaled-gradient-applied


def test_the_optimizer_is_stepped_instead_of_the_scaler(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for inputs, targets in batches():
            optimizer.zero_grad()
            scaler.scale(F.mse_loss(model(inputs), targets)).backward()
            optimizer.step()  # here
    found = run.one("OT305")
    assert found.severity == "error"
    assert found.count == 12
    assert found.evidence["scale"] == 1024.0
    assert "# here" in source_line(found)


def test_one_of_two_optimizers_is_forgotten(recorded: Recorded) -> None:
    with recorded() as run:
        first, second = mlp(), mlp(hidden=6)
        opt_first = torch.optim.Adam(first.parameters(), lr=0.01)
        opt_second = torch.optim.Adam(second.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        for inputs, targets in batches():
            opt_first.zero_grad()
            opt_second.zero_grad()
            scaler.scale(F.mse_loss(first(inputs) + second(inputs), targets)).backward()
            scaler.step(opt_first)
            opt_second.step()
            scaler.update()
    found = run.one("OT305")
    assert "opt_second" in found.message


# OT306 step-always-skipped


def test_every_loss_is_infinite(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            output = model(inputs)
            loss = F.mse_loss(output, targets) + (output * 0).sqrt().sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)  # here
            scaler.update()
    found = next(f for f in run.findings if f.code == "OT306")
    assert found.severity == "warning"
    assert found.count == 20
    assert "# here" in source_line(found)


def test_a_scale_that_can_never_fit(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=0.999)
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            scaler.scale(100 * F.mse_loss(model(inputs), targets)).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    assert run.one("OT306").count >= 20


@pytest.mark.parametrize("clip", [False, True])
def test_a_few_skips(clip: bool, correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            scaler.scale(10 * F.mse_loss(model(inputs), targets)).backward()
            scaler.unscale_(optimizer)
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    assert "OT306" not in run.codes
