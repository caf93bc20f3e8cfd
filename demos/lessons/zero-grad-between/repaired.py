"""A linear classifier of real handwritten digits."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
with np.load(Path(__file__).parents[2] / "data" / "digits.npz") as data:
    images = torch.from_numpy(data["images"]).float().flatten(1) / 16  # (1797, 64), from 0..16 to 0..1
    labels = torch.from_numpy(data["labels"]).long()  # (1797,)

model = nn.Linear(64, 10)  # (B, 64) -> (B, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

for batch in torch.randperm(len(images))[:1000].split(100):  # (100,)
    loss = F.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"loss {loss.item():.4f}")
