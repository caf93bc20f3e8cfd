"""Two backward passes, each with a gradient of its own: zero_grad stands between them.

backward *adds* to .grad. Clearing first is what makes the second gradient 100 and not 300;
gradients_add_up_no_zero.py is this script without that one line.
"""

import torch

x = torch.tensor([1.0, 1.0], requires_grad=True)
optimizer = torch.optim.Adam([x], lr=0.001)

for slope in (200.0, 100.0):
    optimizer.zero_grad()  # .grad is None again, so backward starts from nothing
    y = slope * x  # (2,)
    y.sum().backward()  # dy/dx is the slope, whatever x is
    print(f"y = {slope:.0f}x  gradient {x.grad.tolist()}")

    before = x.detach().clone()  # (2,)
    optimizer.step()
    moved = (x.detach() - before)[0].item()
    # Adam divides the gradient by its own running size, so a slope of 200 moves x no further than lr.
    print(f"          x {x[0].item():.6f}, moved by {moved:+.6f}")
