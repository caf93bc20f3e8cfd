"""Two backward passes and no zero_grad: the second gradient is 300, and not the 100 it should be.

A widely read tutorial says that the gradient "stays at 200" here. It does not: backward adds, and
200 + 100 = 300. The mistake is on purpose; gradients_add_up.py is the right version.
"""

import torch

x = torch.tensor([1.0, 1.0], requires_grad=True)
optimizer = torch.optim.Adam([x], lr=0.001)

for slope in (200.0, 100.0):
    # Missing here: optimizer.zero_grad()
    y = slope * x  # (2,)
    y.sum().backward()  # adds the slope to whatever .grad already holds
    print(f"y = {slope:.0f}x  gradient {x.grad.tolist()}")

    before = x.detach().clone()  # (2,)
    optimizer.step()  # the second time, it applies the 200 again
    moved = (x.detach() - before)[0].item()
    print(f"          x {x[0].item():.6f}, moved by {moved:+.6f}")
