"""One task, five optimizers: the same weights to start from, the same batches, another rule for the step.

What differs is the state each keeps beside a parameter: SGD none, momentum one buffer, Adam two moments,
RMSprop and Adagrad one running size of the gradient. A learning rate means another thing to each of them.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
    images = torch.from_numpy(data["images"]).float().flatten(1) / 16  # (1797, 64), from 0..16 to 0..1
    labels = torch.from_numpy(data["labels"]).long()  # (1797,)
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]

for name, make_optimizer, options in (
    ("SGD", torch.optim.SGD, {"lr": 0.2}),
    ("SGD+momentum", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    ("Adam", torch.optim.Adam, {"lr": 0.005}),
    ("RMSprop", torch.optim.RMSprop, {"lr": 0.002}),
    ("Adagrad", torch.optim.Adagrad, {"lr": 0.05}),
):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))  # (B, 64) -> (B, 32) -> (B, 10)
    optimizer = make_optimizer(model.parameters(), **options)

    for _ in range(6):
        model.train()
        total_loss = 0.0
        for batch in train[torch.randperm(len(train))].split(32):  # (32,)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(batch)

    model.eval()
    with torch.no_grad():
        right = (model(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
    state = [key for key in optimizer.state[model[0].weight] if key != "step"]
    kept = ", ".join(state) or "nothing"
    print(f"{name:12}  train loss {total_loss / len(train):.4f}  test accuracy {right:.3f}  keeps {kept}")
