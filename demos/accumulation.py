"""Gradient accumulation: eight micro-batches of 16 make one step, as a batch of 128 would.

backward adds to .grad, and here that is just what is wanted: eight backwards, one step, and only then
zero_grad. Each gradient is applied once, which is all that a correct loop has to keep to.
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
# 1,408 = 11 steps of 8 micro-batches of 16: no gradient is left over, half accumulated, at an epoch's end.
train, test = order[:1408], order[1408:]

epochs, micro_batches = 10, 8
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))  # (B, 64) -> (B, 32) -> (B, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-3)
# The schedule counts optimizer steps, of which there are 11 an epoch, and not micro-batches.
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * 11)

for epoch in range(epochs):
    model.train()
    total_loss = 0.0
    rate = scheduler.get_last_lr()[0]
    for index, batch in enumerate(train[torch.randperm(len(train))].split(16)):  # (16,)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        # Eight means of 16 sum to eight times the mean of 128; the division makes them the same.
        (loss / micro_batches).backward()
        total_loss += loss.item() * len(batch)
        if (index + 1) % micro_batches == 0:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    if epoch % 3 == 0:
        print(f"epoch {epoch + 1:2}  lr {rate:.4f}  train loss {total_loss / len(train):.4f}")

model.eval()
with torch.no_grad():
    right = (model(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
print(f"{epochs * 11} steps of {micro_batches} micro-batches  test accuracy {right:.3f}")
