"""Three kinds of momentum estimate one number from noisy measurements of it."""

import torch

measurements = (16.0, 20.0, 12.0)  # of a length that is 16

plain = torch.tensor([0.0], requires_grad=True)  # (1,), the estimate
dampened = torch.tensor([0.0], requires_grad=True)
nesterov = torch.tensor([0.0], requires_grad=True)
kinds = [{"params": [plain]}, {"params": [dampened], "dampening": 0.5}, {"params": [nesterov], "nesterov": True}]

optimizer = torch.optim.SGD(kinds, lr=0.25, momentum=0.5)
for epoch in range(2):
    for measured in measurements:
        optimizer.zero_grad()
        # The gradient of half the squared error is the error itself, estimate - measured.
        loss = sum(0.5 * (estimate - measured) ** 2 for estimate in (plain, dampened, nesterov))  # (1,)
        loss.backward()
        optimizer.step()
    estimates = f"{plain.item():.3f} {dampened.item():.3f} {nesterov.item():.3f}"
    print(f"epoch {epoch}  loss {loss.item():6.2f}  estimates {estimates}")
