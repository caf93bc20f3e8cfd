"""Fine-tuning: a frozen stem, a body that learns slowly, a new head that learns fast."""

import torch
from torch import nn

x = torch.tensor([[1.0]])  # (1, 1)
y = torch.tensor([[6.0]])  # (1, 1)

stem, body, head = (nn.Linear(1, 1, bias=False) for _ in range(3))  # weights (1, 1)
model = nn.ModuleDict({"stem": stem, "body": body, "head": head})
for layer, weight in ((stem, 1.0), (body, 1.0), (head, 2.0)):
    nn.init.constant_(layer.weight, weight)
stem.weight.requires_grad_(False)
groups = [{"params": body.parameters(), "lr": 0.01}, {"params": head.parameters(), "lr": 0.1}]
optimizer = torch.optim.SGD(groups)

for step in range(6):
    features = body(stem(x))  # (1, 1)
    optimizer.zero_grad()
    loss = 0.5 * (head(features) - y).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step}  loss {loss.item():7.4f}  body {body.weight.item():.4f}  head {head.weight.item():.4f}")
