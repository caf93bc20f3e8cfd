"""Param groups, a learning-rate schedule, gradient clipping, and a checkpoint in the middle.

The first layer learns slowly and the last one fast, as when a pretrained body gets a new head.
After three epochs everything is saved, made again from nothing and loaded, and training goes on:
model, optimizer (its momentum) and scheduler (its place in the schedule) all belong in a checkpoint.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
    images = torch.from_numpy(data["images"]).float().flatten(1) / 16  # (1797, 64), from 0..16 to 0..1
    labels = torch.from_numpy(data["labels"]).long()  # (1797,)
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]


def make_training():
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))  # (B, 64) -> (B, 32) -> (B, 10)
    body, head = model[0], model[2]
    groups = [{"params": body.parameters(), "lr": 0.02}, {"params": head.parameters(), "lr": 0.1}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)  # halves both every 2 epochs
    return model, optimizer, scheduler


model, optimizer, scheduler = make_training()
for epoch in range(6):
    if epoch == 3:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.pt"
            parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
            torch.save({name: part.state_dict() for name, part in parts.items()}, path)
            checkpoint = torch.load(path)
        # All three are made before any is loaded: a scheduler sets the learning rate when it is made, and
        # would overwrite what the optimizer had loaded.
        model, optimizer, scheduler = make_training()
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        print("saved, made again and loaded")

    rates = [round(rate, 6) for rate in scheduler.get_last_lr()]
    model.train()
    total_loss, clipped = 0.0, 0
    batches = train[torch.randperm(len(train))].split(32)  # 45 tensors of up to 32 indices
    for batch in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        # Between backward and step, where the gradients are there and not yet applied.
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        total_loss += loss.item() * len(batch)
        clipped += norm.item() > 1.0
    scheduler.step()  # once per epoch, after the epoch's last optimizer.step

    clipping = f"clipped {clipped:2} of {len(batches)}"
    print(f"epoch {epoch + 1}  lr {rates}  {clipping}  train loss {total_loss / len(train):.4f}")

model.eval()
with torch.no_grad():
    right = (model(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
print(f"test accuracy {right:.3f}")
