"""Learns the slope of y = 4x with a learning rate that halves every turn."""

import torch

x = torch.tensor([1.0, -1.0])  # (2,)
y = 4 * x  # (2,)
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.375)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)

for turn in range(6):
    scheduler.step()
    optimizer.zero_grad()
    loss = ((w * x - y) ** 2).mean()  # (w - 4)², as the mean of x² is 1
    loss.backward()
    optimizer.step()
    print(f"turn {turn}  loss {loss.item():7.4f}  w {w.item():.4f}")
