"""Learns two weights from two samples, each of which knows about one of them; both go into one step."""

import torch

x = torch.eye(2)  # (2, 2): the first sample has only the first feature, the second only the second
y = torch.tensor([15.0, 5.0])  # (2,): so w should become [15, 5]
w = torch.zeros(2, requires_grad=True)  # (2,)
optimizer = torch.optim.SGD([w], lr=0.1)

for turn in range(10):
    optimizer.zero_grad()
    total = 0.0
    for number in range(2):
        loss = (w @ x[number] - y[number]) ** 2  # ()
        loss.backward()
        total += loss.item()
        torch.nn.utils.clip_grad_norm_([w], max_norm=10.0)
    optimizer.step()
    print(f"turn {turn}  loss {total:8.3f}  w [{w[0].item():.3f}, {w[1].item():.3f}]")
