"""Two terms of one loss, each with a backward of its own."""

import torch

x = torch.tensor([1.0, 1.0], requires_grad=True)  # (2,)
optimizer = torch.optim.SGD([x], lr=0.001)

for turn in range(3):
    steep = (200 * x).sum()  # its gradient is 200 everywhere
    gentle = (100 * x).sum()  # and that of this one 100
    steep.backward()
    gentle.backward()
    optimizer.step()
    print(f"turn {turn}  loss {steep.item() + gentle.item():6.1f}  gradient {x.grad.tolist()}")
