"""SGD and Adam race: each is to fit its own copy of one line, slope -5 and intercept 1, from the same start."""

import copy

import torch
from torch import nn

torch.manual_seed(0)
x = torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])  # (5, 1)
y = -5 * x + 1  # (5, 1)

by_sgd = nn.Linear(1, 1)
nn.init.zeros_(by_sgd.weight)  # (1, 1), the slope
nn.init.zeros_(by_sgd.bias)  # (1,), the intercept
by_adam = copy.deepcopy(by_sgd)
sgd = torch.optim.SGD(by_sgd.parameters(), lr=0.1)
adam = torch.optim.Adam(by_adam.parameters(), lr=0.1)

for epoch in range(20):
    sgd.zero_grad()
    adam.zero_grad()
    loss_sgd = (by_sgd(x) - y).square().mean()
    loss_adam = (by_adam(x) - y).square().mean()
    (loss_sgd + loss_adam).backward()
    sgd.step()
    adam.step()
    if epoch % 5 == 4:
        print(f"epoch {epoch}  loss with SGD {loss_sgd.item():7.4f}, with Adam {loss_adam.item():7.4f}")
