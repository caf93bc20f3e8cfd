"""Policy gradients, actor and critic, replay with a target network."""

import copy

import torch
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional as F

from checks.conftest import Recorded


def net(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, outputs))


def reward(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    return (action == (state[..., 0] > 0)).float()


def test_reinforce(correct: Recorded) -> None:
    with correct():
        policy = net(2)
        optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
        for _ in range(15):
            log_probs, rewards = [], []
            for _ in range(6):
                state = torch.randn(3)
                choice = Categorical(logits=policy(state))
                action = choice.sample()
                log_probs.append(choice.log_prob(action))
                rewards.append(reward(state, action))
            returns = torch.stack(rewards) - 0.5
            loss = torch.stack([-p * r for p, r in zip(log_probs, returns, strict=True)]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_actor_and_critic_with_two_optimizers(correct: Recorded) -> None:
    with correct():
        actor, critic = net(2), net(1)
        opt_actor = torch.optim.Adam(actor.parameters(), lr=0.01)
        opt_critic = torch.optim.Adam(critic.parameters(), lr=0.02)
        for _ in range(20):
            state = torch.randn(8, 3)
            choice = Categorical(logits=actor(state))
            action = choice.sample()
            advantage = reward(state, action) - critic(state).squeeze(1)
            opt_critic.zero_grad()
            advantage.pow(2).mean().backward()
            opt_critic.step()
            opt_actor.zero_grad()
            (-choice.log_prob(action) * advantage.detach()).mean().backward()
            opt_actor.step()


def test_actor_trained_through_the_critic(correct: Recorded) -> None:
    # As in DDPG: the actor's backward fills the critic's gradients too; the critic's zero_grad clears them.
    with correct():
        actor, critic = net(1), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        target = copy.deepcopy(critic)
        opt_actor = torch.optim.Adam(actor.parameters(), lr=0.005)
        opt_critic = torch.optim.Adam(critic.parameters(), lr=0.01)
        for _ in range(20):
            state, action = torch.randn(8, 3), torch.randn(8, 1)
            with torch.no_grad():
                wanted = -(action - state[:, :1]).pow(2) + 0.5 * target(torch.cat([state, actor(state)], dim=1))
            critic_loss = F.mse_loss(critic(torch.cat([state, action], dim=1)), wanted)
            opt_critic.zero_grad()
            critic_loss.backward()
            opt_critic.step()
            actor_loss = -critic(torch.cat([state, actor(state)], dim=1)).mean()
            opt_actor.zero_grad()
            actor_loss.backward()
            opt_actor.step()
            for t, c in zip(target.parameters(), critic.parameters(), strict=True):
                t.data.copy_(0.95 * t.data + 0.05 * c.data)


def test_several_epochs_over_one_rollout(correct: Recorded) -> None:
    with correct():
        shared = net(3)  # two logits and a value
        optimizer = torch.optim.Adam(shared.parameters(), lr=0.005, eps=1e-5)
        for _ in range(5):
            state = torch.randn(16, 3)
            with torch.no_grad():
                choice = Categorical(logits=shared(state)[:, :2])
                action = choice.sample()
                old = choice.log_prob(action)
            gain = reward(state, action)
            for _ in range(3):
                for rows in torch.randperm(16).split(8):
                    output = shared(state[rows])
                    choice = Categorical(logits=output[:, :2])
                    ratio = (choice.log_prob(action[rows]) - old[rows]).exp()
                    advantage = gain[rows] - output[:, 2].detach()
                    surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
                    value_loss = F.mse_loss(output[:, 2], gain[rows])
                    loss = -surrogate.mean() + 0.5 * value_loss - 0.01 * choice.entropy().mean()
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(shared.parameters(), 0.5)
                    optimizer.step()
