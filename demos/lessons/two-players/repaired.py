"""Two players: a generator makes numbers, a discriminator is to tell them from real ones, which are 4."""

import torch
from torch import nn

generator = nn.Linear(1, 1, bias=False)  # (1, 1) -> (1, 1), makes a number out of noise
discriminator = nn.Linear(1, 1, bias=False)  # (1, 1) -> (1, 1), the higher the more real
nn.init.constant_(generator.weight, 1.0)
nn.init.constant_(discriminator.weight, 1.0)
g_optimizer = torch.optim.SGD(generator.parameters(), lr=0.5)
d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.125)
real = torch.tensor([[4.0]])
noise = torch.tensor([[1.0]])

for step in range(4):
    # The discriminator's turn: a high score for what is real, a low one for what is made.
    fake = generator(noise).detach()  # so that this backward stops before the generator
    d_loss = (discriminator(fake) - discriminator(real)).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()

    # The generator's turn: a high score for what it makes.
    g_optimizer.zero_grad()
    g_loss = -discriminator(generator(noise)).mean()
    g_loss.backward()  # goes through the discriminator
    g_optimizer.step()
    print(f"step {step}  loss {d_loss.item():.3f} {g_loss.item():.3f}  makes {generator.weight.item():.3f}, to be 4")
