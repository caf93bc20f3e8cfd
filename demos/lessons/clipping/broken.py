"""Learns the slope of y = 4x from batches of which one has a label with two zeros too many."""

import torch

x = torch.ones(8)  # (8,)
y = torch.tensor([4.0, 4.0, 400.0, 4.0, 4.0, 4.0, 4.0, 4.0])  # (8,): the third should be 4
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.25)

for batch_x, batch_y in zip(x.split(1), y.split(1)):  # (1,), (1,)
    optimizer.zero_grad()
    loss = ((w * batch_x - batch_y) ** 2).mean()
    loss.backward()
    optimizer.step()
    torch.nn.utils.clip_grad_norm_([w], max_norm=10.0)
    print(f"label {batch_y.item():3.0f}  loss {loss.item():9.2f}  w {w.item():7.3f}")
