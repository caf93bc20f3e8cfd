"""OT401–OT408: NaN and Inf, gradients that are zero, explode or vanish, updates that are lost."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, classes, mlp
from checks.test_order_schedule_state import source_line

ORIGINS = ("OT401", "OT402", "OT403")


def origin(run):
    """The one finding about NaN and Inf."""
    found = [f for f in run.findings if f.code in ORIGINS and not f.caused_by]
    assert len(found) == 1, [str(f) for f in run.findings]
    assert not [f for f in run.loud if f is not found[0] and not f.caused_by]
    return found[0]


# OT401 non-finite-loss


def test_a_nan_in_the_data(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(20)):
            if index == 7:
                inputs = inputs.clone()
                inputs[3, 1] = float("nan")
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()  # here
            optimizer.step()
    found = origin(run)
    assert found.code == "OT401"
    assert found.severity == "error"
    assert found.position == "7:1"
    assert "# here" in source_line(found)
    assert "0.weight" in found.evidence["parameters_reached"]


def test_a_log_of_zero(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for index, (inputs, targets) in enumerate(batches(30)):
            optimizer.zero_grad()
            chance = torch.sigmoid(model(inputs)) * (0.0 if index >= 12 else 1.0)
            loss = -(torch.log(chance) * (targets > 0)).mean()
            loss.backward()
            optimizer.step()
    found = origin(run)
    assert found.code == "OT401"
    assert found.position.startswith("12:")


def test_training_that_runs_away_until_it_overflows(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
        for inputs, targets in batches(120):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = [f for f in run.findings if f.code in ORIGINS]
    assert len(found) == 1
    assert [f for f in run.loud if not f.caused_by] in ([found[0]], [f for f in run.loud if f.code == "OT405"])


def test_a_guard_that_leaves_bad_batches_out(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(20)):
            if index in (5, 6):
                inputs = inputs * float("inf")
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            if not all(torch.isfinite(p.grad).all() for p in model.parameters()):
                optimizer.zero_grad()
                continue
            optimizer.step()


# OT402 non-finite-gradient


def test_the_square_root_of_zero(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp(outputs=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for index, (inputs, _) in enumerate(batches(20)):
            optimizer.zero_grad()
            output = model(inputs)
            other = output.detach() if index == 9 else torch.zeros_like(output)
            loss = (output - other).pow(2).sum(dim=1).sqrt().mean()
            loss.backward()  # here
            optimizer.step()
    found = origin(run)
    assert found.code == "OT402"
    assert found.position.startswith("9:")
    assert set(found.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert "# here" in source_line(found)


def test_a_masked_nan_under_adam(recorded: Recorded) -> None:
    with recorded() as run:
        scale = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.Adam([scale], lr=0.01)
        for index in range(15):
            x = torch.tensor([1.0, 2.0, 0.0 if index == 4 else 3.0])
            optimizer.zero_grad()
            loss = torch.where(x > 0, (x * scale).log(), torch.zeros(())).sum()
            loss.backward()
            optimizer.step()
    found = origin(run)
    assert found.code == "OT402"
    assert found.parameters == ("scale",)


# OT403 non-finite-parameter


def test_a_learning_rate_that_becomes_infinite(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(12)):
            for group in optimizer.param_groups:
                group["lr"] = float("inf") if index == 6 else 0.01
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()  # here
    found = origin(run)
    assert found.code == "OT403"
    assert found.position.startswith("6:")
    assert "# here" in source_line(found)


def test_adam_without_epsilon(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=0.0)
        for _ in range(10):
            words = torch.randint(0, 5, (6, 2))  # rows 5 to 9 have gradient 0, so 0 / 0
            optimizer.zero_grad()
            model(words).pow(2).mean().backward()
            optimizer.step()
    found = origin(run)
    assert found.code == "OT403"
    assert found.parameters[0] == "0.weight"


def test_finite_throughout(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(10):
            words = torch.randint(0, 5, (6, 2))
            optimizer.zero_grad()
            model(words).pow(2).mean().backward()
            optimizer.step()


# OT404 zero-gradient


def test_a_relu_that_is_dead_from_the_start(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        nn.init.constant_(model[0].bias, -100.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT404")
    assert found.severity == "warning"
    assert set(found.parameters) == {"0.weight", "0.bias", "2.weight"}
    assert found.count == 20


def test_rounding_in_the_graph(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp(outputs=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, labels in classes():
            optimizer.zero_grad()
            predicted = torch.round(model(inputs))
            F.mse_loss(predicted, F.one_hot(labels, 3).float()).backward()
            optimizer.step()
    assert len(run.one("OT404").parameters) == 4


def test_zero_at_first_and_then_not(correct: Recorded) -> None:
    # A gate that starts at zero, as LoRA's and ReZero's do.
    with correct() as run:
        model = mlp()
        gate = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([*model.parameters(), gate], lr=0.05)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(gate * model(inputs), targets).backward()
            optimizer.step()
    assert "OT404" not in run.codes


def test_negative_zero_at_first_and_then_not(correct: Recorded) -> None:
    # A recurrent state that starts at zero: the first gradient of what it is multiplied by is -0.
    with correct() as run:
        weight, bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight, bias], lr=0.001)
        state = torch.zeros(3)
        for _ in range(12):
            optimizer.zero_grad()
            (-(weight * state).sum() + bias * bias).sum().backward()
            optimizer.step()
            state = state + 0.1
    assert "OT404" not in run.codes


# OT405 exploding-gradient


def test_a_learning_rate_far_too_high(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.2)
        for inputs, targets in batches(50):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT405")
    assert found.severity == "warning"
    assert found.evidence["norm"] > 100 * found.evidence["usual_norm"]


def test_stable_until_the_rate_is_raised(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for index, (inputs, targets) in enumerate(batches(90)):
            if index == 60:
                optimizer.param_groups[0]["lr"] = 2.0
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT405")
    assert int(found.position.split(":")[0]) > 60


def test_an_explosion_that_comes_back_in_the_last_turns(correct: Recorded) -> None:
    """Most of the last losses are far above what was usual; the very last are not."""
    with correct() as run:
        weight = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=1e-9)
        for turn in range(48):
            optimizer.zero_grad()
            ((weight * (1000.0 if 38 < turn < 46 else 1.0)) ** 2).sum().backward()
            optimizer.step()
    assert "OT405" not in run.codes


def test_a_rate_that_fits(correct: Recorded) -> None:
    with correct() as run:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, targets in batches(50):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT405" not in run.codes


# OT406 vanishing-gradient


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_a_deep_net_whose_gradients_vanish(activation: type[nn.Module], recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        layers = [layer for _ in range(14) for layer in (nn.Linear(8, 8), activation())]
        model = nn.Sequential(nn.Linear(4, 8), *layers, nn.Linear(8, 1))
        if activation is nn.Tanh:
            for p in model.parameters():
                p.data *= 0.5
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT406")
    assert found.severity == "hint"
    assert "0.weight" in found.parameters


def test_a_deep_net_with_residuals(correct: Recorded) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            return x + torch.sigmoid(self.inner(x))

    with correct() as run:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), *(Block() for _ in range(14)), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT406" not in run.codes


# OT407 update-ratio


@pytest.mark.parametrize("rate", [1e-10, 20.0])
def test_steps_of_another_size_than_the_weights(rate: float, recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp(outputs=3).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for inputs, labels in classes(40):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs.double()), labels).backward()
            optimizer.step()
    found = run.one("OT407")
    assert found.severity == "hint"


def test_steps_of_a_fitting_size(correct: Recorded) -> None:
    with correct() as run:
        model = mlp(outputs=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for inputs, labels in classes(40):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    assert "OT407" not in run.codes


# OT408 update-lost-to-rounding


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_too_coarse_for_the_updates(dtype: torch.dtype, recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp().to(dtype)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs.to(dtype)), targets.to(dtype)).backward()
            optimizer.step()  # here
    found = run.one("OT408")
    assert found.severity == "warning"
    assert found.evidence["unchanged"] > 0.9
    assert "# here" in source_line(found)


def test_adam_on_bfloat16_weights(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        layer = nn.Linear(32, 8, dtype=torch.bfloat16)
        nn.init.constant_(layer.weight, 1.0)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-4, weight_decay=0)
        for _ in range(20):
            optimizer.zero_grad()
            layer(torch.randn(4, 32, dtype=torch.bfloat16)).pow(2).mean().backward()
            optimizer.step()
    assert "weight" in run.one("OT408").parameters


def test_the_same_in_float32(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT408" not in run.codes
