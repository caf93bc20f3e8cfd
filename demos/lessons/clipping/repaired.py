"""Learns what y is at x = 1 from eight labels, one of which has two zeros too many."""

import torch

labels = [4.0, 4.0, 400.0, 4.0, 4.0, 4.0, 4.0, 4.0]  # the third should be 4
w = torch.zeros(1, requires_grad=True)  # should become 4
optimizer = torch.optim.SGD([w], lr=0.25)

for label in labels:
    optimizer.zero_grad()
    loss = ((w - label) ** 2).sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([w], max_norm=10.0)
    optimizer.step()
    print(f"label {label:3.0f}  loss {loss.item():9.2f}  w {w.item():7.3f}")
