"""A small and a large weight, each as far from where it should be as the other, in numbers of eight bits."""

import torch

dtype = torch.float32
small = torch.tensor(1.0, dtype=dtype, requires_grad=True)  # should be 0
large = torch.tensor(64.0, dtype=dtype, requires_grad=True)  # should be 63
optimizer = torch.optim.SGD([small, large], lr=0.0625)

for step in range(8):
    optimizer.zero_grad()
    loss = 0.5 * small**2 + 0.5 * (large - 63) ** 2
    loss.backward()
    optimizer.step()
    print(f"step {step}  loss {loss.item():.4f}  small {small.item():.4f}  large {large.item():.4f}")
