"""One backward and one step: what each of the two changes, and what it leaves alone.

Before backward there is no gradient at all: None, which is not the same as zero. backward fills .grad
and does not touch x; step moves x and does not touch .grad.
"""

import torch

x = torch.tensor([1.0, 2.0], requires_grad=True)
optimizer = torch.optim.Adam([x], lr=0.001)
print(f"at the start    x {x.tolist()}  gradient {x.grad}")

y = 100.0 * x  # (2,)
y.sum().backward()  # a sum hands every element of y the weight 1, so each gradient is 100
print(f"after backward  x {x.tolist()}  gradient {x.grad.tolist()}")

optimizer.step()
# Adam's first step is lr * 100 / sqrt(100 ** 2): the learning rate itself, for any gradient.
x_now = [round(value, 6) for value in x.tolist()]
print(f"after step      x {x_now}  gradient {x.grad.tolist()}")
