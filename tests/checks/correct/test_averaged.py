"""Weights that are averages of others, copied through .data or under no_grad."""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def test_a_moving_average_through_data(correct: Recorded) -> None:
    with correct():
        model = mlp()
        average = copy.deepcopy(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
                mine.data.mul_(0.9).add_(theirs.data, alpha=0.1)


class ExponentialAverage:
    """Shadow weights that take the model's place for validation, and give it back."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.shadow = {name: p.data.clone() for name, p in model.named_parameters()}
        self.backup: dict[str, torch.Tensor] = {}

    def update(self) -> None:
        for name, p in self.model.named_parameters():
            self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * p.data

    def apply(self) -> None:
        for name, p in self.model.named_parameters():
            self.backup[name] = p.data
            p.data = self.shadow[name]

    def restore(self) -> None:
        for name, p in self.model.named_parameters():
            p.data = self.backup[name]


def test_shadow_weights_for_validation(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        ema = ExponentialAverage(model, 0.9)
        for _ in range(4):
            model.train()
            for inputs, targets in batches(8):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                ema.update()
            model.eval()
            ema.apply()
            with torch.no_grad():
                [model(inputs) for inputs, _ in batches(2)]
            ema.restore()


def test_averaged_model_of_torch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            average.update_parameters(model)


def test_stochastic_weight_averaging(correct: Recorded) -> None:
    with correct():
        model = mlp()
        average = AveragedModel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        swa_scheduler = SWALR(optimizer, anneal_epochs=2, swa_lr=0.02)
        for epoch in range(8):
            for inputs, targets in batches(6):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            if epoch > 4:
                average.update_parameters(model)
                swa_scheduler.step()
            else:
                scheduler.step()


def test_a_momentum_encoder(correct: Recorded) -> None:
    with correct():
        query, key = mlp(outputs=5), mlp(outputs=5)
        key.load_state_dict(query.state_dict())
        for p in key.parameters():
            p.requires_grad = False
        optimizer = torch.optim.SGD(query.parameters(), lr=0.02, momentum=0.9)
        for inputs, _ in batches(25):
            with torch.no_grad():
                for q, k in zip(query.parameters(), key.parameters(), strict=True):
                    k.data = k.data * 0.9 + q.data * 0.1
                wanted = F.normalize(key(inputs + 0.1 * torch.randn_like(inputs)))
            scores = F.normalize(query(inputs)) @ wanted.T / 0.2
            optimizer.zero_grad()
            F.cross_entropy(scores, torch.arange(len(inputs))).backward()
            optimizer.step()


def test_a_target_network_with_soft_and_hard_updates(correct: Recorded) -> None:
    with correct():
        policy, target, hard = mlp(), mlp(), mlp()
        optimizer = torch.optim.AdamW(policy.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(30)):
            with torch.no_grad():
                wanted = targets + 0.5 * target(inputs) + 0.1 * hard(inputs)
            optimizer.zero_grad()
            F.smooth_l1_loss(policy(inputs), wanted).backward()
            optimizer.step()
            state, mine = target.state_dict(), policy.state_dict()
            for name in mine:
                state[name] = mine[name] * 0.05 + state[name] * 0.95
            target.load_state_dict(state)
            if index % 10 == 9:
                hard.load_state_dict(policy.state_dict())


def test_lookahead(correct: Recorded) -> None:
    # Every five steps the fast weights go half the way back to the slow ones.
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        slow = [p.detach().clone() for p in model.parameters()]
        for index, (inputs, targets) in enumerate(batches(40)):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            if index % 5 == 4:
                with torch.no_grad():
                    for p, s in zip(model.parameters(), slow, strict=True):
                        s.add_(p - s, alpha=0.5)
                        p.copy_(s)
