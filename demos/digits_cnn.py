"""A small convolutional network learns real handwritten digits with SGD.

1,797 images of 8x8, of which 360 are kept for testing. The loss of the epoch is summed as a Python
number; digits_cnn_sum_losses.py sums the tensors instead, and pays for it in memory.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
    images = torch.from_numpy(data["images"]).float().unsqueeze(1) / 16  # (1797, 1, 8, 8), from 0..16 to 0..1
    labels = torch.from_numpy(data["labels"]).long()  # (1797,)

# Shuffled before the split: neighbours in the file are often by one writer, and each part should know all hands.
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]

model = nn.Sequential(
    nn.Conv2d(1, 8, kernel_size=3, padding=1),  # (B, 8, 8, 8)
    nn.ReLU(),
    nn.MaxPool2d(2),  # (B, 8, 4, 4)
    nn.Conv2d(8, 16, kernel_size=3, padding=1),  # (B, 16, 4, 4)
    nn.ReLU(),
    nn.MaxPool2d(2),  # (B, 16, 2, 2)
    nn.Flatten(),  # (B, 64)
    nn.Linear(64, 10),  # (B, 10)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(5):
    model.train()
    total_loss = 0.0
    for batch in train[torch.randperm(len(train))].split(32):  # (32,)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(batch)  # .item(): a number, which holds no graph

    model.eval()
    with torch.no_grad():
        right = (model(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
    print(f"epoch {epoch + 1}  train loss {total_loss / len(train):.4f}  test accuracy {right:.3f}")
