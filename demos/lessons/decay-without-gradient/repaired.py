"""One model for two tasks: every batch is for one of them, and the weight of the other has nothing to learn from it."""

import torch
from torch import nn

model = nn.ModuleDict({"cats": nn.Linear(1, 1, bias=False), "dogs": nn.Linear(1, 1, bias=False)})
nn.init.constant_(model["cats"].weight, 16.0)  # (1, 1), has still to be trained
nn.init.constant_(model["dogs"].weight, 8.0)  # (1, 1), is trained already
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.25)
x, y = torch.tensor([[1.0]]), torch.tensor([[10.0]])  # (1, 1), (1, 1): the same for both, to keep the numbers simple

for task in ("dogs", "cats", "cats", "cats", "dogs"):
    optimizer.zero_grad()
    loss = 0.5 * (model[task](x) - y).square().mean()
    loss.backward()  # reaches the weight of this task only
    optimizer.step()
    print(f"{task}  loss {loss.item():.3f}")
