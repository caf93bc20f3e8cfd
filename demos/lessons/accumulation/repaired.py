"""Learns the slope of y = 4x with four micro-batches to a step."""

import torch

x = torch.tensor([1.0, -1.0]).repeat(4)  # (8,): four micro-batches of two
y = 4 * x  # (8,)
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.375)

for turn in range(12):
    for micro_x, micro_y in zip(x.split(2), y.split(2)):  # (2,), (2,)
        loss = ((w * micro_x - micro_y) ** 2).mean()  # (w - 4)², as the mean of x² is 1
        (loss / 4).backward()  # a quarter each: together the mean over all eight
    print(f"turn {turn:2}  loss {loss.item():.6g}  w {w.item():.6g}")
    optimizer.step()
    optimizer.zero_grad()
