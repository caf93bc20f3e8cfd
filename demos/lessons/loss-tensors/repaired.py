"""A weight is fitted to a few points, and the losses are summed to print their mean."""

import torch
from torch import nn

x = torch.tensor([[1.0], [2.0]])  # (2, 1)
y = torch.tensor([[3.0], [6.0]])  # (2, 1)

model = nn.Linear(1, 1, bias=False)
nn.init.zeros_(model.weight)  # (1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

total = 0.0
for _ in range(16):
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    total += loss.item()
print(f"mean loss {total / 16:.4f}")
