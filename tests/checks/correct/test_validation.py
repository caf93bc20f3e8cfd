"""Validation between epochs, early stopping, checkpoints."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, classes, mlp


def evaluate(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        found = sum(F.mse_loss(model(inputs), targets).item() for inputs, targets in batches(3, seed=1))
    return found


def test_train_and_eval_each_epoch(correct: Recorded) -> None:
    with correct():
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(4):
            model.train()
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            evaluate(model)


def test_validation_inside_the_epoch(correct: Recorded) -> None:
    with correct():
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for index, (inputs, targets) in enumerate(batches(30)):
            model.train()
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            if index % 10 == 9:
                evaluate(model)


def test_validation_without_no_grad(correct: Recorded) -> None:
    # Wasteful, but nothing is left of it.
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(3):
            for inputs, targets in batches(8):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            [F.mse_loss(model(inputs), targets).item() for inputs, targets in batches(3)]


def test_the_best_weights_come_back_at_the_end(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        best, kept = float("inf"), copy.deepcopy(model.state_dict())
        for _ in range(4):
            model.train()
            for inputs, targets in batches(8):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            if (loss := evaluate(model)) < best:
                best, kept = loss, copy.deepcopy(model.state_dict())
        model.load_state_dict(kept)


def test_resumed_with_everything(correct: Recorded) -> None:
    with correct():
        model = mlp(outputs=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        saved = copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        model = mlp(outputs=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_k_folds(correct: Recorded) -> None:
    def fold(seed: int) -> float:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for inputs, targets in batches(8, seed=seed):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        return evaluate(model)

    with correct():
        [fold(seed) for seed in range(4)]
