"""Learns the slope of y = 4x in three epochs of four batches."""

import torch

x = torch.tensor([1.0, -1.0]).repeat(4)  # (8,): four batches of two
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.25)

for epoch in range(3):
    for batch in x.split(2):  # (2,)
        optimizer.zero_grad()
        loss = ((w * batch - 4 * batch) ** 2).mean()  # (w - 4)², as the mean of x² is 1
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch}  loss {loss.item():7.4f}  w {w.item():.4f}")
