"""Recurrent networks: truncated back-propagation, with and without retain_graph."""

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded


def sequence(length: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [length, 1, 3] and targets [length, 1, 1]."""
    inputs = torch.randn(length, 1, 3, generator=torch.Generator().manual_seed(0))
    return inputs, inputs.cumsum(0)[:, :, :1].tanh()


def test_truncated_by_detaching(correct: Recorded) -> None:
    inputs, targets = sequence()
    with correct():
        torch.manual_seed(0)
        rnn, head = nn.RNN(3, 6), nn.Linear(6, 1)
        optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.01)
        for _ in range(3):
            hidden = torch.zeros(1, 1, 6)
            for start in range(0, 24, 4):
                hidden = hidden.detach()
                output, hidden = rnn(inputs[start : start + 4], hidden)
                loss = F.mse_loss(head(output), targets[start : start + 4])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_([*rnn.parameters(), *head.parameters()], 0.5)
                optimizer.step()


def test_truncated_with_retain_graph(correct: Recorded) -> None:
    # Every chunk's loss reaches back through the chunks before it; one step for the whole sequence.
    inputs, targets = sequence()
    with correct():
        torch.manual_seed(0)
        cell, head = nn.GRUCell(3, 6), nn.Linear(6, 1)
        optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.05)
        for _ in range(6):
            hidden = torch.zeros(1, 6)
            optimizer.zero_grad()
            loss = torch.zeros(())
            for t in range(24):
                hidden = cell(inputs[t], hidden)
                loss = loss + F.mse_loss(head(hidden), targets[t])
                if (t + 1) % 6 == 0:
                    loss.backward(retain_graph=True)
                    loss = torch.zeros(())
            optimizer.step()


def test_a_step_per_sequence(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        lstm, head = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 1)
        groups = [{"params": lstm.parameters()}, {"params": head.parameters(), "lr": 1e-3}]
        optimizer = torch.optim.RMSprop(groups, lr=1e-2)
        for _ in range(15):
            inputs = torch.randn(4, 5, 3)
            output, _ = lstm(inputs)
            loss = F.mse_loss(head(output[:, -1]), inputs.sum(dim=(1, 2)).unsqueeze(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
