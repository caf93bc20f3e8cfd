"""By which names parameters go, and to whom they belong."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from witness import Witness, bits

import optrace


def test_bare_tensors_are_called_by_their_variables(path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    weights = [torch.ones(1, requires_grad=True) for _ in range(2)]
    table = {"inner": torch.ones(1, requires_grad=True)}

    def hidden() -> list[torch.Tensor]:
        return [torch.ones(1, requires_grad=True)]

    optimizer = torch.optim.SGD([x, *weights, table["inner"], *hidden()], lr=0.1)
    with optrace.record(path):
        x.sum().backward()
        optimizer.step()
    names = list(optrace.load(path).parameters)
    assert names[:4] == ["x", "weights[0]", "weights[1]", "table['inner']"]
    assert names[4] == "SGD.param4"


def test_two_models_with_the_same_names(path: Path) -> None:
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
    with optrace.record(path) as recording:
        names = [(f"first.{n}", p) for n, p in first.named_parameters()]
        names += [(f"second.{n}", p) for n, p in second.named_parameters()]
        witness = Witness(recording, names, optimizer)
        (first(torch.ones(1, 2)) + second(torch.zeros(1, 2))).sum().backward()
        witness.look()
        optimizer.step()
        witness.look()
    trace = optrace.load(path)
    assert set(trace.parameters) == {"first.weight", "first.bias", "second.weight", "second.bias"}
    assert {model.variable for model in trace.models} == {"first", "second"}
    witness.check(trace)


def test_of_two_models_that_share_some_names_all_are_told_apart(path: Path) -> None:
    deep = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    flat = nn.Sequential(nn.Linear(2, 1))
    alone = nn.Module()
    alone.scale = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*deep.parameters(), *flat.parameters(), *alone.parameters()], lr=0.1)
    with optrace.record(path):
        (deep(torch.ones(1, 2)) + alone.scale * flat(torch.ones(1, 2))).sum().backward()
        optimizer.step()
    expected = [f"deep.{name}" for name, _ in deep.named_parameters()] + ["flat.0.weight", "flat.0.bias", "scale"]
    assert list(optrace.load(path).parameters) == expected


def test_tied_weights_are_one_parameter(path: Path) -> None:
    model = nn.Module()
    model.embedding, model.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    model.head.weight = model.embedding.weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path):
        model.head(model.embedding(torch.tensor([1]))).sum().backward()
        optimizer.step()
    trace = optrace.load(path)
    assert list(trace.parameters) == ["embedding.weight"]
    assert trace.parameters["embedding.weight"].names == ("embedding.weight", "head.weight")
    assert trace.parameters["head.weight"] is trace.parameters["embedding.weight"]
    assert trace.value("head.weight").shape == (5, 3)  # type: ignore[union-attr]


def test_made_after_recording_started(path: Path) -> None:
    with optrace.record(path) as recording:
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        optimizer = torch.optim.Adam(model.parameters())
        witness = Witness(recording, model.named_parameters(), optimizer)
        model(torch.ones(1, 2)).sum().backward()
        witness.look()
        optimizer.step()
        witness.look()
    trace = optrace.load(path)
    assert list(trace.parameters) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert trace.optimizers[0].variable == "optimizer"
    assert trace.optimizers[0].site is not None
    assert trace.optimizers[0].site.function == "test_made_after_recording_started"
    assert trace.models[0].site is not None
    assert trace.models[0].site.line == trace.optimizers[0].site.line - 1
    witness.check(trace)


def test_replaced_layers_and_added_groups(path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def turn() -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    with optrace.record(path) as recording:
        turn()
        model[1] = nn.Linear(2, 1)
        turn()
        optimizer.add_param_group({"params": list(model[1].parameters()), "lr": 0.5})
        turn()
        witness = Witness(recording, {"model.1.weight": model[1].weight, "0.bias": model[0].bias}, optimizer)
        witness.look()
    trace = optrace.load(path)
    assert len(trace.parameters) == 6
    assert [len(trace.groups(event)) for event in trace.events if event.kind == "step"] == [1, 1, 2]
    assert trace.groups(-1)[1].hyper["lr"] == 0.5
    assert [b.event for b in trace.bindings if b.name == "1.weight"] == [0, 3]
    witness.check(trace)


def test_a_model_in_a_loop_made_again_and_again(path: Path) -> None:
    """A sweep: models come and go, and memory addresses are used again."""
    finals = []
    with optrace.record(path):
        for _ in range(6):
            model = nn.Linear(2, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            for _ in range(2):
                optimizer.zero_grad()
                model(torch.randn(3, 2)).square().sum().backward()
                optimizer.step()
            finals.append(model.weight.detach().clone())
            del model, optimizer
    trace = optrace.load(path)
    weights = [name for name in trace.parameters if "weight" in name]
    assert len(weights) == 6
    assert len(trace.optimizers) == 6
    for name, final in zip(weights, finals, strict=True):
        assert trace.value(name).tobytes() == bits(final)  # type: ignore[union-attr]


def test_shared_parameter_in_two_optimizers(path: Path) -> None:
    weight = torch.ones(2, requires_grad=True)
    one, two = torch.optim.Adam([weight], lr=0.1), torch.optim.Adam([weight], lr=0.2)
    with optrace.record(path):
        for _ in range(2):
            weight.sum().backward()
            one.step()
            two.step()
    trace = optrace.load(path)
    found = trace.kinds("weight")
    assert {"exp_avg", "Adam#2.exp_avg"} <= set(found)
    assert trace.value("weight", "exp_avg").tobytes() == bits(one.state[weight]["exp_avg"])  # type: ignore[union-attr]
    assert trace.value("weight", "Adam#2.exp_avg").tobytes() == bits(two.state[weight]["exp_avg"])  # type: ignore[union-attr]


def test_names_with_escapes(path: Path) -> None:
    model = nn.ParameterDict(
        {"\x1b[31mred\x1b[0m": nn.Parameter(torch.ones(1)), "[b]bold[/b]": nn.Parameter(torch.ones(1))}
    )
    odd = nn.Module()
    odd._parameters["\ud800\n"] = nn.Parameter(torch.ones(2))
    with optrace.record(path) as recording:
        sum(p.sum() for m in (model, odd) for p in m.parameters()).backward()  # type: ignore[union-attr]
    assert recording.failure is None
    trace = optrace.load(path)
    assert set(trace.parameters) >= {"\x1b[31mred\x1b[0m", "[b]bold[/b]"}
    assert trace.value("\x1b[31mred\x1b[0m", "grad").tolist() == [1]  # type: ignore[union-attr]
    assert len(trace.parameters) == 3


def test_what_else_lives_in_the_process_is_no_part_of_the_run(path: Path) -> None:
    others = [[nn.Linear(2, 1)]]  # out of sight: another cell's, another test's
    strangers = [[torch.optim.SGD(others[0][0].parameters(), lr=0.1)]]
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    trace = optrace.load(path)
    assert list(trace.parameters) == ["weight", "bias"]
    assert [known.name for known in trace.optimizers] == ["SGD"]
    assert strangers


def test_a_model_out_of_sight_is_part_of_the_run_once_it_is_trained(path: Path) -> None:
    hidden = [[nn.Linear(2, 1)]]
    with optrace.record(path):
        hidden[0][0](torch.ones(1, 2)).sum().backward()
    trace = optrace.load(path)
    assert list(trace.parameters) == ["weight", "bias"]
    assert not trace.parameters["weight"].bare


def test_a_model_the_user_passes_has_the_plain_names(path: Path) -> None:
    model, twin = nn.Linear(2, 1), nn.Linear(2, 1)
    with optrace.record(path, model=twin):
        (model(torch.ones(1, 2)) + twin(torch.ones(1, 2))).sum().backward()
    names = list(optrace.load(path).parameters)
    assert names == ["weight", "bias", "model.weight", "model.bias"]
