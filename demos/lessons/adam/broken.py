"""Adam fits two weights whose inputs differ a hundredfold in size; after 12 steps the training is interrupted."""

import io

import torch
from torch import nn

x = torch.tensor([[10.0, 0.1]])  # (1, 2)
y = torch.tensor([[10.0]])  # (1, 1)

model = nn.Linear(2, 1, bias=False)
nn.init.zeros_(model.weight)  # (1, 2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.25, betas=(0.5, 0.999))

for step in range(16):
    if step == 12:  # one process ends here; another goes on from the checkpoint
        checkpoint = io.BytesIO()  # stands for a file
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
        checkpoint.seek(0)
        saved = torch.load(checkpoint)
        model = nn.Linear(2, 1, bias=False)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.25, betas=(0.5, 0.999))
        model.load_state_dict(saved["model"])

    optimizer.zero_grad()
    loss = 0.5 * (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step:2}  loss {loss.item():.4f}")
