"""The accumulation loop of accumulation.py under two kinds of momentum: nesterov, and dampening.

Nesterov applies the gradient plus a look ahead along the momentum. Dampening lets each new gradient into
the momentum buffer only in part. torch refuses the two together, so each has a run of its own.
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
train, test = order[:1408], order[1408:]  # 11 steps of 8 micro-batches of 16, with nothing left over

epochs, micro_batches = 10, 8
# With a dampening of 0.5 the buffer settles at half the size, so the learning rate is twice as large.
for name, options in {
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "dampening": {"lr": 0.2, "momentum": 0.9, "dampening": 0.5},
}.items():
    torch.manual_seed(1)  # both start from the same weights and see the same batches
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))  # (B, 64) -> (B, 32) -> (B, 10)
    optimizer = torch.optim.SGD(model.parameters(), weight_decay=1e-3, **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * 11)

    for epoch in range(epochs):
        model.train()
        total_loss = 0.0
        for index, batch in enumerate(train[torch.randperm(len(train))].split(16)):  # (16,)
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            (loss / micro_batches).backward()
            total_loss += loss.item() * len(batch)
            if (index + 1) % micro_batches == 0:
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        if epoch in (0, epochs - 1):
            print(f"{name:9}  epoch {epoch + 1:2}  train loss {total_loss / len(train):.4f}")

    model.eval()
    with torch.no_grad():
        right = (model(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
    print(f"{name:9}  test accuracy {right:.3f}")
