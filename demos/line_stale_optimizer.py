"""The comparison of line_sgd_adam.py with its classic mistake: Adam trains a model that nobody uses.

Both optimizers are made at the top. For the second run the model is made again, so that Adam starts
from the same line as SGD did, and the optimizer is not: it still holds the first model's parameters.
The second model gets gradients, nobody applies or clears them, and its line never moves.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
inputs = torch.linspace(-5, 5, 100).view(-1, 1)  # (100, 1)
targets = -5 * inputs + 1 + 0.4 * torch.randn_like(inputs)  # (100, 1)
points = DataLoader(TensorDataset(inputs, targets), batch_size=1, shuffle=True)
loss_function = nn.MSELoss()

torch.manual_seed(1)
model = nn.Linear(1, 1)
sgd = torch.optim.SGD(model.parameters(), lr=0.01)
adam = torch.optim.Adam(model.parameters(), lr=0.01)

for epoch in range(20):
    total_loss = 0.0
    for x, y in points:  # (1, 1), (1, 1)
        sgd.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        sgd.step()
        total_loss += loss.item()
    if epoch in (0, 4, 19):
        print(f"SGD   epoch {epoch + 1:2}  mean loss {total_loss / len(points):8.4f}")
print(f"SGD   slope {model.weight.item():.3f}, intercept {model.bias.item():.3f}")

torch.manual_seed(1)
model = nn.Linear(1, 1)  # the name is the same, the parameters are new: adam knows nothing of them
print(f"Adam  starts from slope {model.weight.item():.3f}, intercept {model.bias.item():.3f}")

for epoch in range(20):
    total_loss = 0.0
    for x, y in points:  # (1, 1), (1, 1)
        adam.zero_grad()  # clears the first model
        loss = loss_function(model(x), y)
        loss.backward()  # fills the second
        adam.step()  # finds no gradient in the first, and does nothing, without a word
        total_loss += loss.item()
    if epoch in (0, 4, 19):
        print(f"Adam  epoch {epoch + 1:2}  mean loss {total_loss / len(points):8.4f}")
print(f"Adam  slope {model.weight.item():.3f}, intercept {model.bias.item():.3f}")
