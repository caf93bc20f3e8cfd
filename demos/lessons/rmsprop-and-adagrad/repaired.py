"""RMSprop and Adagrad learn a score for each of two words, in half precision. The second word comes late."""

import torch
from torch import nn

dtype = torch.float32
rmsprop_scores = nn.Embedding(2, 1, dtype=dtype)  # (2, 1): a score for each word
adagrad_scores = nn.Embedding(2, 1, dtype=dtype)
for scores in (rmsprop_scores, adagrad_scores):
    nn.init.zeros_(scores.weight)
rmsprop = torch.optim.RMSprop(rmsprop_scores.parameters(), lr=0.5, alpha=0.75)
adagrad = torch.optim.Adagrad(adagrad_scores.parameters(), lr=0.5)

for word in (0, 0, 0, 0, 1):
    rmsprop.zero_grad()
    adagrad.zero_grad()
    target = torch.tensor([8.0], dtype=dtype)
    seen = torch.tensor([word])  # (1,)
    # The gradient of the absolute error is 1 or -1, however large the error.
    loss = (rmsprop_scores(seen) - target).abs().sum() + (adagrad_scores(seen) - target).abs().sum()
    loss.backward()
    rmsprop.step()
    adagrad.step()
    print(f"word {word}  loss {loss.item():.3f}")
