"""Learns the slope of y = 4x in five epochs of six batches, with a learning rate that falls along a cosine."""

import torch

x = torch.tensor([1.0, -1.0]).repeat(6)  # (12,): six batches of two
epochs = 5
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.0625)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

for epoch in range(epochs):
    for batch in x.split(2):  # (2,)
        optimizer.zero_grad()
        loss = ((w * batch - 4 * batch) ** 2).mean()  # (w - 4)², as the mean of x² is 1
        loss.backward()
        optimizer.step()
        scheduler.step()
    print(f"epoch {epoch}  loss {loss.item():.4f}  w {w.item():.4f}  next lr {scheduler.get_last_lr()[0]:.4f}")
