"""Fit a line of slope -5 and intercept 1, once with SGD and once with Adam.

Each run makes a new model *and* a new optimizer over that model's parameters.
line_stale_optimizer.py forgets the second half of that sentence.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
inputs = torch.linspace(-5, 5, 100).view(-1, 1)  # (100, 1)
targets = -5 * inputs + 1 + 0.4 * torch.randn_like(inputs)  # (100, 1)
loss_function = nn.MSELoss()

for make_optimizer in (torch.optim.SGD, torch.optim.Adam):
    torch.manual_seed(1)  # both start from the same line and see the points in the same order
    points = DataLoader(TensorDataset(inputs, targets), batch_size=1, shuffle=True)
    model = nn.Linear(1, 1)
    optimizer = make_optimizer(model.parameters(), lr=0.01)

    for epoch in range(20):
        total_loss = 0.0
        for x, y in points:  # (1, 1), (1, 1)
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        if epoch in (0, 4, 19):
            print(f"{make_optimizer.__name__:5} epoch {epoch + 1:2}  mean loss {total_loss / len(points):8.4f}")

    # SGD's step grows with the error, so it is there in one epoch; Adam's is at most about lr, so it walks.
    print(f"{make_optimizer.__name__:5} slope {model.weight.item():.3f}, intercept {model.bias.item():.3f}")
