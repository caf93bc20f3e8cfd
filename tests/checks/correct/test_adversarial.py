"""Two players with two optimizers, in the ways well-known code writes them."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded

REAL = [torch.randn(8, 2, generator=torch.Generator().manual_seed(i)) + 2 for i in range(15)]


def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    discriminator = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    return generator, discriminator


def test_discriminator_first_as_dcgan_does(correct: Recorded) -> None:
    # The generator's backward leaves gradients in the discriminator; its zero_grad clears them next time.
    with correct():
        netG, netD = players()
        criterion = nn.BCEWithLogitsLoss()
        optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
        optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))
        for real in REAL:
            netD.zero_grad()
            errD_real = criterion(netD(real), torch.ones(8, 1))
            errD_real.backward()
            fake = netG(torch.randn(8, 3))
            errD_fake = criterion(netD(fake.detach()), torch.zeros(8, 1))
            errD_fake.backward()
            optimizerD.step()

            netG.zero_grad()
            errG = criterion(netD(fake), torch.ones(8, 1))
            errG.backward()
            optimizerG.step()


def test_generator_first(correct: Recorded) -> None:
    with correct():
        generator, discriminator = players()
        optimizer_G = torch.optim.Adam(generator.parameters(), lr=2e-3)
        optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
        loss = nn.BCEWithLogitsLoss()
        for _ in range(2):
            for real in REAL:
                optimizer_G.zero_grad()
                made = generator(torch.randn(8, 3))
                g_loss = loss(discriminator(made), torch.ones(8, 1))
                g_loss.backward()
                optimizer_G.step()

                optimizer_D.zero_grad()
                real_loss = loss(discriminator(real), torch.ones(8, 1))
                fake_loss = loss(discriminator(made.detach()), torch.zeros(8, 1))
                d_loss = (real_loss + fake_loss) / 2
                d_loss.backward()
                optimizer_D.step()


def test_requires_grad_switched_off_for_the_other_player(correct: Recorded) -> None:
    def set_requires_grad(net: nn.Module, wanted: bool) -> None:
        for parameter in net.parameters():
            parameter.requires_grad = wanted

    with correct():
        netG, netD = players()
        optimizer_G = torch.optim.Adam(netG.parameters(), lr=2e-3)
        optimizer_D = torch.optim.Adam(netD.parameters(), lr=2e-3)
        for real in REAL:
            fake = netG(torch.randn(8, 3))
            set_requires_grad(netD, True)
            optimizer_D.zero_grad()
            loss_D = (F.softplus(netD(fake.detach())) + F.softplus(-netD(real))).mean()
            loss_D.backward()
            optimizer_D.step()
            set_requires_grad(netD, False)
            optimizer_G.zero_grad()
            loss_G = F.softplus(-netD(fake)).mean()
            loss_G.backward()
            optimizer_G.step()


def test_weights_clipped_through_data(correct: Recorded) -> None:
    with correct():
        generator, critic = players()
        optimizer_G = torch.optim.RMSprop(generator.parameters(), lr=5e-4)
        optimizer_C = torch.optim.RMSprop(critic.parameters(), lr=5e-3)
        for index, real in enumerate(itertools.chain(REAL, REAL, REAL)):
            optimizer_C.zero_grad()
            fake = generator(torch.randn(8, 3)).detach()
            loss_C = -critic(real).mean() + critic(fake).mean()
            loss_C.backward()
            optimizer_C.step()
            for p in critic.parameters():
                p.data.clamp_(-0.1, 0.1)
            if index % 5 == 4:
                optimizer_G.zero_grad()
                loss_G = -critic(generator(torch.randn(8, 3))).mean()
                loss_G.backward()
                optimizer_G.step()


def test_weights_clipped_under_no_grad_until_they_saturate(correct: Recorded) -> None:
    with correct():
        critic = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(critic.parameters(), lr=0.05)
        for real in REAL * 3:
            optimizer.zero_grad()
            (-critic(real).mean()).backward()
            optimizer.step()
            with torch.no_grad():
                for p in critic.parameters():
                    p.clamp_(-0.01, 0.01)


def test_gradient_penalty(correct: Recorded) -> None:
    with correct():
        generator, critic = players()
        optimizer_G = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
        optimizer_C = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
        for real in REAL:
            for _ in range(2):
                fake = generator(torch.randn(8, 3)).detach()
                mix = torch.rand(8, 1)
                between = (mix * real + (1 - mix) * fake).requires_grad_()
                (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
                penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
                loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
                optimizer_C.zero_grad()
                loss.backward()
                optimizer_C.step()
            optimizer_G.zero_grad()
            (-critic(generator(torch.randn(8, 3))).mean()).backward()
            optimizer_G.step()


def test_two_generators_under_one_optimizer(correct: Recorded) -> None:
    with correct():
        there, D_B = players()
        back, D_A = nn.Linear(2, 3), nn.Linear(3, 1)
        optimizer_G = torch.optim.Adam(itertools.chain(there.parameters(), back.parameters()), lr=1e-3)
        optimizer_D = torch.optim.Adam(itertools.chain(D_A.parameters(), D_B.parameters()), lr=1e-3)
        for real in REAL:
            start = torch.randn(8, 3)
            optimizer_G.zero_grad()
            fake = there(start)
            loss_G = F.softplus(-D_B(fake)).mean() + F.softplus(-D_A(back(real))).mean()
            loss_G = loss_G + F.l1_loss(back(fake), start)
            loss_G.backward()
            optimizer_G.step()
            optimizer_D.zero_grad()
            for critic, good, bad in ((D_A, start, back(real)), (D_B, real, fake)):
                loss_D = (F.softplus(-critic(good)) + F.softplus(critic(bad.detach()))).mean()
                loss_D.backward()
            optimizer_D.step()


def test_both_backwards_before_both_steps(correct: Recorded) -> None:
    with correct():
        generator, discriminator = players()
        opt_g = torch.optim.SGD(generator.parameters(), lr=1e-2)
        opt_d = torch.optim.SGD(discriminator.parameters(), lr=1e-2)
        for real in REAL:
            fake = generator(torch.randn(8, 3))
            opt_g.zero_grad()
            F.softplus(-discriminator(fake)).mean().backward()
            opt_d.zero_grad()
            (F.softplus(-discriminator(real)) + F.softplus(discriminator(fake.detach()))).mean().backward()
            opt_d.step()
            opt_g.step()
