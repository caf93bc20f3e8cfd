"""A score for each of 32 words, with weight decay. The text at hand has only the first two words in it."""

import torch
from torch import nn

scores = nn.Embedding(32, 1)  # weight (32, 1): one score a word
nn.init.constant_(scores.weight, 0.5)
optimizer = torch.optim.AdamW(scores.parameters(), lr=0.1, weight_decay=0.1)

words = torch.tensor([0, 1])  # (2,)
targets = torch.tensor([[0.3], [-0.3]])  # (2, 1)

for step in range(24):
    optimizer.zero_grad()
    loss = (scores(words) - targets).square().mean()
    loss.backward()  # the gradient of the 30 other words is 0
    optimizer.step()
    print(f"step {step:2}  loss {loss.item():.4f}  a word that never occurs {scores.weight[31].item():+.4f}")
