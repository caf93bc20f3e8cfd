"""Learns two weights from six samples, one at a time, with a step after every four."""

import torch

x = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2)  # (6, 2): the last two have only the second feature
y = x @ torch.tensor([4.0, 2.0])  # (6,): so w should become [4, 2]
w = torch.zeros(2, requires_grad=True)  # (2,)
optimizer = torch.optim.SGD([w], lr=0.25)

for epoch in range(5):
    optimizer.zero_grad()  # every epoch starts clean
    total = 0.0
    for number in range(1, 7):
        loss = (w @ x[number - 1] - y[number - 1]) ** 2  # ()
        (loss / 4).backward()
        total += loss.item()
        if number % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
    print(f"epoch {epoch}  loss {total:6.2f}  w [{w[0].item():.3f}, {w[1].item():.3f}]")
