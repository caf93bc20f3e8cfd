"""Learns the slope of y = 4x with four micro-batches to a step."""

import torch

x = torch.tensor([1.0, -1.0]).repeat(4)  # (8,): four micro-batches of two
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.75)

for turn in range(6):
    for micro in x.split(2):  # (2,)
        loss = ((w * micro - 4 * micro) ** 2).mean()  # (w - 4)², as the mean of x² is 1
        (loss / 4).backward()
    print(f"turn {turn}  loss {loss.item():12,.2f}  w {w.item():9.2f}")
    optimizer.step()
    optimizer.zero_grad()
