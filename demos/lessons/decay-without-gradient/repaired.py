"""Two tasks share a training loop; each batch is for one of them, and the other's weight should keep still."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.ModuleDict({"cats": nn.Linear(1, 1, bias=False), "dogs": nn.Linear(1, 1, bias=False)})
for head in model.values():
    nn.init.constant_(head.weight, 16.0)  # (1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.5)

x = torch.tensor([[1.0]])  # (1, 1)
for task in ("cats", "dogs", "cats", "cats", "cats"):
    optimizer.zero_grad()
    loss = 0.5 * (model[task](x) - 12.0).square().mean()
    loss.backward()  # reaches the weight of this task only
    optimizer.step()
    print(f"{task}  loss {loss.item():.2f}  weights {[head.weight.item() for head in model.values()]}")
