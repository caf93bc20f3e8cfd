"""Learning-rate schedules: per epoch, per batch, with warm-up, from zero and to zero."""

import math

import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def epoch(model, optimizer, scheduler=None) -> float:
    total = 0.0
    for inputs, targets in batches():
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        total += loss.item()
    return total


def test_once_per_epoch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        for _ in range(6):
            epoch(model, optimizer)
            scheduler.step()


def test_cosine_over_the_epochs(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
        for _ in range(8):
            epoch(model, optimizer)
            scheduler.step()


def test_one_cycle_per_batch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters())
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=48)
        for _ in range(4):
            epoch(model, optimizer, scheduler)


def test_linear_warmup_from_zero_and_decay_to_zero(correct: Recorded) -> None:
    # As Hugging Face's get_linear_schedule_with_warmup: the first step is at lr 0.
    steps = 48
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda s: s / 6 if s < 6 else (steps - s) / (steps - 6))
        for _ in range(4):
            epoch(model, optimizer, scheduler)


def test_warm_up_by_hand_per_epoch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for index, (inputs, targets) in enumerate(batches(20)):
            rate = 0.05 * min(1.0, index / 5)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()


def test_on_a_plateau(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        for _ in range(6):
            scheduler.step(epoch(model, optimizer))


def test_warm_up_then_cosine(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        warm = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=6)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=42)
        scheduler = lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[6])
        for _ in range(4):
            epoch(model, optimizer, scheduler)


def test_restarts_per_batch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=12)
        for _ in range(4):
            epoch(model, optimizer, scheduler)


def test_cyclic(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        scheduler = lr_scheduler.CyclicLR(optimizer, base_lr=0.001, max_lr=0.02, step_size_up=6)
        for _ in range(4):
            epoch(model, optimizer, scheduler)


def test_milestones_reached_before_the_end(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = lr_scheduler.MultiStepLR(optimizer, milestones=[3, 5])
        for _ in range(9):
            epoch(model, optimizer)
            scheduler.step()


def test_a_range_test(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=1.2)
        for _ in range(3):
            epoch(model, optimizer, scheduler)


def test_a_rate_computed_in_the_loop(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(24)):
            rate = 0.001 + 0.5 * 0.009 * (1 + math.cos(math.pi * index / 24))
            for group in optimizer.param_groups:
                group["lr"] = rate
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def test_a_frozen_group_at_lr_zero(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(
            [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}], lr=0.05
        )
        for _ in range(2):
            epoch(model, optimizer)
