"""A loop that calls zero_grad."""

import torch

x = torch.tensor([2.0, 8.0], requires_grad=True)
optimizer = torch.optim.SGD([x], lr=0.25)

for turn in range(4):
    loss = (4 * x).sum()
    optimizer.zero_grad()
    loss.backward()  # adds 4 to whatever is there
    optimizer.step()
    print(turn, x.grad.tolist())
