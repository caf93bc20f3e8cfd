"""Fine-tuning: frozen backbones, heads, BatchNorm in eval, teachers."""

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, classes, mlp


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(inputs))


def test_a_frozen_backbone(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        for p in model.backbone.parameters():
            p.requires_grad = False
        optimizer = torch.optim.Adam(model.head.parameters(), lr=0.02)
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_a_frozen_backbone_given_to_the_optimizer(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        model.backbone.requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_a_backbone_frozen_by_filtering(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        model.backbone.requires_grad_(False)
        optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.05, momentum=0.9)
        for inputs, labels in classes(20):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_only_the_head_given_to_the_optimizer(correct: Recorded) -> None:
    # Costs time, and is worth a hint: the backbone gets gradients that nobody uses or clears.
    with correct():
        model = Classifier()
        optimizer = torch.optim.SGD(model.head.parameters(), lr=0.05)
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_batch_norm_kept_in_eval(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(3):
            model.train()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
            for inputs, labels in classes():
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                [model(inputs) for inputs, _ in classes(3)]


def test_a_teacher_in_eval(correct: Recorded) -> None:
    with correct():
        teacher, student = mlp(hidden=16, outputs=3), mlp(outputs=3)
        teacher.eval()
        optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
        for inputs, labels in classes(20):
            with torch.no_grad():
                wanted = teacher(inputs)
            output = student(inputs)
            loss = F.cross_entropy(output, labels) + F.mse_loss(output, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_a_teacher_trained_first_then_in_eval(correct: Recorded) -> None:
    def train(model: nn.Module, teacher: nn.Module | None) -> None:
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, labels in classes(15):
            loss = F.cross_entropy(model(inputs), labels)
            if teacher is not None:
                with torch.no_grad():
                    wanted = teacher(inputs).softmax(dim=1)
                loss = loss + F.kl_div(model(inputs).log_softmax(dim=1), wanted, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with correct():
        teacher, student = mlp(hidden=16, outputs=3), mlp(outputs=3)
        train(teacher, None)
        teacher.eval()
        train(student, teacher)


def test_unfrozen_after_an_epoch(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        model.backbone.requires_grad_(False)
        optimizer = torch.optim.Adam(model.head.parameters(), lr=0.02)
        for epoch in range(3):
            if epoch == 1:
                model.backbone.requires_grad_(True)
                optimizer.add_param_group({"params": model.backbone.parameters(), "lr": 0.002})
            for inputs, labels in classes():
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()


def test_a_model_fine_tuned_all_in_eval(correct: Recorded) -> None:
    # In eval from the first backward on: somebody's choice (no dropout, fixed BatchNorm), not something forgotten.
    with correct():
        model = Classifier().eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, labels in classes(20):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_weights_loaded_before_training(correct: Recorded, tmp_path) -> None:
    torch.save(Classifier().state_dict(), tmp_path / "pretrained.pt")
    with correct():
        model = Classifier()
        model.load_state_dict(torch.load(tmp_path / "pretrained.pt"))
        nn.init.zeros_(model.head.bias)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for inputs, labels in classes(20):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


def test_a_head_replaced_before_the_optimizer_is_made(correct: Recorded) -> None:
    with correct():
        model = Classifier()
        for inputs, labels in classes(2):
            F.cross_entropy(model(inputs), labels).backward()
            torch.optim.SGD(model.parameters(), lr=0.01).step()
            model.zero_grad()
        model.head = nn.Linear(8, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
