"""Learns the slope of y = 4x from ten micro-batches an epoch, four to a step."""

import torch

x = torch.tensor([1.0, -1.0]).repeat(10)  # (20,)
y = 4 * x  # (20,)
w = torch.zeros(1, requires_grad=True)  # the slope, which should become 4
optimizer = torch.optim.SGD([w], lr=0.125)

for epoch in range(3):
    optimizer.zero_grad()  # every epoch starts clean
    batches = list(zip(x.split(2), y.split(2)))  # ten of (2,), (2,)
    for number, (micro_x, micro_y) in enumerate(batches, start=1):
        loss = ((w * micro_x - micro_y) ** 2).mean()  # (w - 4)², as the mean of x² is 1
        (loss / 4).backward()
        if number % 4 == 0 or number == len(batches):
            optimizer.step()
            optimizer.zero_grad()
    print(f"epoch {epoch}  loss {loss.item():.4f}  w {w.item():.4f}")
