"""Mixed precision: the forward in float16, the loss scaled so that small gradients survive, and clipping."""

import torch
from torch import nn

x = torch.tensor([[1.0], [2.0]])  # (2, 1)
y = torch.tensor([[16.0], [32.0]])  # (2, 1)

model = nn.Linear(1, 1, bias=False)
nn.init.zeros_(model.weight)  # (1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
scaler = torch.amp.GradScaler("cpu", init_scale=2048.0)

for step in range(5):
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        prediction = model(x)  # (2, 1), computed in float16
    loss = 0.5 * (prediction.float() - y).square().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=4.0)
    scaler.step(optimizer)
    scaler.update()
    print(f"step {step}  loss {loss.item():7.3f}  norm {norm.item():8.2f}  weight {model.weight.item():.4f}")
