"""Closures: the backward runs inside the step, once or many times."""

import torch
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def test_lbfgs(correct: Recorded) -> None:
    inputs, targets = batches(1, size=32)[0]
    with correct():
        model = mlp()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            return loss

        for _ in range(6):
            optimizer.step(closure)


def test_lbfgs_with_a_line_search_in_a_loop_over_data(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")
        for inputs, targets in batches(3, size=32):
            for _ in range(2):

                def closure(inputs=inputs, targets=targets):
                    optimizer.zero_grad()
                    loss = F.mse_loss(model(inputs), targets)
                    loss.backward()
                    return loss

                optimizer.step(closure)


def test_a_framework_that_runs_all_inside_step(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def training_step(batch, optimizer):
            def closure():
                loss = F.mse_loss(model(batch[0]), batch[1])
                optimizer.zero_grad()
                loss.backward()
                return loss

            optimizer.step(closure)

        for batch in batches(12):
            training_step(batch, optimizer)


def test_zero_grad_outside_the_closure(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():

            def closure(inputs=inputs, targets=targets):
                loss = F.mse_loss(model(inputs), targets)
                loss.backward()
                return loss

            optimizer.zero_grad()
            optimizer.step(closure)
