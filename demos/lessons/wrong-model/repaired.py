"""A baseline that stays as it is, and a model that is to become better than it."""

import torch
from torch import nn

x = torch.tensor([[1.0], [1.0]])  # (2, 1)
y = torch.tensor([[3.0], [5.0]])  # (2, 1)

baseline = nn.Linear(1, 1, bias=False)
nn.init.constant_(baseline.weight, 2.0)  # (1, 1)
model = nn.Linear(1, 1, bias=False)
nn.init.zeros_(model.weight)  # (1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

for step in range(5):
    optimizer.zero_grad()
    loss = 0.5 * (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step}  loss {loss.item():.4f}")

with torch.no_grad():
    print(f"loss of the baseline {0.5 * (baseline(x) - y).square().mean().item():.4f}")
