"""Learns two weights from two micro-batches, each of which knows about one of them."""

import torch

x = torch.eye(2)  # (2, 2): the first sample has only the first feature, the second only the second
y = torch.tensor([15.0, 5.0])  # (2,): so w should become [15, 5]
w = torch.zeros(2, requires_grad=True)  # (2,)
optimizer = torch.optim.SGD([w], lr=0.1)

for turn in range(10):
    optimizer.zero_grad()
    total = 0.0
    for sample, label in zip(x, y):  # (2,), ()
        loss = (w @ sample - label) ** 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_([w], max_norm=10.0)
        total += loss.item()
    optimizer.step()
    print(f"turn {turn}  loss {total:8.3f}  w [{w[0].item():.3f}, {w[1].item():.3f}]")
