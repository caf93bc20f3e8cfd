"""SGD and Adam race from the same start: which finds the line of slope -5 and intercept 1 first?"""

import copy

import torch
from torch import nn

x = torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])  # (5, 1)
y = -5 * x + 1  # (5, 1)

line = nn.Linear(1, 1)
nn.init.zeros_(line.weight)  # (1, 1), the slope
nn.init.zeros_(line.bias)  # (1,), the intercept
models = nn.ModuleDict({"sgd": line, "adam": copy.copy(line)})
sgd = torch.optim.SGD(models["sgd"].parameters(), lr=0.1)
adam = torch.optim.Adam(models["adam"].parameters(), lr=0.1)

for epoch in range(12):
    sgd.zero_grad()
    adam.zero_grad()
    losses = [(model(x) - y).square().mean() for model in models.values()]
    sum(losses).backward()  # each loss reaches its own model only
    sgd.step()
    adam.step()
    print(f"epoch {epoch:2}  loss of SGD {losses[0].item():8.4f}  of Adam {losses[1].item():8.4f}")
