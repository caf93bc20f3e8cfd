"""The loop as every tutorial writes it, in the styles people write it."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from checks.conftest import Recorded
from checks.tasks import batches, classes, mlp


def test_flat_script(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches():
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()


def test_model_and_optimizer_made_before_recording(correct: Recorded) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with correct():
        for _ in range(2):
            for inputs, targets in batches():
                loss = F.mse_loss(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def test_zero_grad_at_the_end(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()


class Trainer:
    """A trainer class with a method per stage."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        self.model = model
        self.optimizer = torch.optim.RMSprop(model.parameters(), lr=learning_rate)
        self.criterion = nn.CrossEntropyLoss()
        self.history: list[float] = []

    def fit(self, loader: DataLoader, epochs: int) -> None:
        for _ in range(epochs):
            self.model.train()
            self.history.append(sum(self.training_step(*batch) for batch in loader) / len(loader))

    def training_step(self, inputs: torch.Tensor, labels: torch.Tensor) -> float:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(inputs), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def test_trainer_class_with_a_data_loader(correct: Recorded) -> None:
    data = classes(count=1, size=64)[0]
    with correct():
        trainer = Trainer(mlp(outputs=3), learning_rate=0.005)
        trainer.fit(DataLoader(TensorDataset(*data), batch_size=16, shuffle=True), epochs=4)


def train_epoch(model, loader, criterion, optimizer):
    for inputs, targets in loader:
        optimizer.zero_grad(set_to_none=False)
        criterion(model(inputs), targets).backward()
        optimizer.step()


def test_functions_and_epochs(correct: Recorded) -> None:
    def main() -> None:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4)
        for _ in range(3):
            train_epoch(model, batches(), nn.MSELoss(), optimizer)

    with correct():
        main()


def test_two_experiments_one_after_the_other(correct: Recorded) -> None:
    with correct():
        for make in (torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad):
            model = mlp()
            optimizer = make(model.parameters(), lr=0.02)
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()


def test_a_bare_tensor(correct: Recorded) -> None:
    with correct():
        x = torch.tensor([2.0, -1.0], requires_grad=True)
        optimizer = torch.optim.Adam([x], lr=0.1)
        for _ in range(30):
            optimizer.zero_grad()
            loss = ((x - 1) ** 2).sum()
            loss.backward()
            optimizer.step()


def test_a_loss_of_exactly_zero_gradient_now_and_then(correct: Recorded) -> None:
    with correct():
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for index in range(20):
            inputs = torch.randn(4, 2)
            optimizer.zero_grad()
            margin = F.relu(1 - model(inputs) * (1 if index % 3 else 0) - (0 if index % 3 else 2))
            margin.mean().backward()
            optimizer.step()


def test_it_learns_to_the_last_bit(correct: Recorded) -> None:
    # Fitted exactly, gradients end as zeros and updates vanish: nothing is wrong with that.
    with correct():
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        inputs = torch.tensor([[1.0], [-1.0]])
        for _ in range(60):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), 2 * inputs)
            loss.backward()
            optimizer.step()


def test_a_huge_first_loss_that_falls(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        for inputs, targets in batches(count=40):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets * 100).backward()
            optimizer.step()


def test_a_deep_network(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        layers = [layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.ReLU())]
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), *layers, nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for inputs, targets in batches(count=30):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()


def test_losses_summed_as_numbers(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            total, history = 0.0, []
            for inputs, targets in batches():
                optimizer.zero_grad()
                loss = F.mse_loss(model(inputs), targets)
                loss.backward()
                optimizer.step()
                total += loss.item()
                history.append(loss.detach())


def test_metrics_kept_for_a_few_batches(correct: Recorded) -> None:
    # The last losses are kept whole for a moving average: bounded, so nothing grows.
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        last: list[torch.Tensor] = []
        for inputs, targets in batches(count=60):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            last = [*last[-3:], loss]


def test_embedding_whose_rows_are_not_all_used(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        model = nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, 1))
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
        for _ in range(20):
            words = torch.randint(0, 10, (6, 4))
            optimizer.zero_grad()
            F.mse_loss(model(words), words.float().mean(dim=1, keepdim=True)).backward()
            optimizer.step()
