"""Other dtypes and layouts, torch's compiler, devices without values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checks.tasks import batches, mlp
from torch import nn
from torch.nn import functional as F

import optrace
from conformance.matrix import Row, Rows, find, hold, plain, recording, skip_without

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Profiler record function"),  # the compiler's own
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

rows = Rows("Precision and compilation")
TURN = "zero_grad backward step"


def scaled(broken: bool, device: str) -> Any:
    model = mlp().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler(device, init_scale=1024.0, growth_interval=2)
    for inputs, targets in batches(6):
        inputs, targets = inputs.to(device), targets.to(device)
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = F.mse_loss(model(inputs), targets)
        scaler.scale(loss).backward()
        if not broken:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    return model, optimizer, scaler.get_scale()


SCALED = {
    "ledger": {"applied 1×": 6 * 4},
    "bug": "clipped before `unscale_`",
    "code": "OT302",
    "calls": {"unscale": "scaler.unscale_(", "step": "scaler.step(", "scaler_update": "scaler.update("},
}


@rows.row("autocast and `GradScaler` on CPU", *["zero_grad backward unscale clip step scaler_update"] * 6, **SCALED)
def scaled_on_cpu(broken: bool) -> Any:
    return scaled(broken, "cpu")


@rows.row(
    "autocast and `GradScaler` on CUDA",
    *["zero_grad backward unscale clip step scaler_update"] * 6,
    **SCALED,
    needs="cuda",
)
def scaled_on_cuda(broken: bool) -> Any:
    return scaled(broken, "cuda")


@rows.row(
    "bfloat16 weights",
    *[TURN] * 12,
    ledger={"applied 1×": 12 * 4},
    bug="a rate so small that updates are lost to rounding",
    code="OT408",
)
def in_bfloat16(broken: bool) -> Any:
    model = mlp().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6 if broken else 0.1)
    for inputs, targets in batches(12):
        optimizer.zero_grad()
        F.mse_loss(model(inputs.bfloat16()), targets.bfloat16()).backward()
        optimizer.step()
    return model


@rows.row(
    "float16 weights",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="a loss too large for float16",
    code="OT401",
    also=("OT402", "OT403"),
)
def in_float16(broken: bool) -> Any:
    model = mlp().half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for inputs, targets in batches(6):
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs.half()), targets.half())
        (loss * 65504 if broken else loss).backward()
        optimizer.step()
    return model


class Quantised(nn.Module):
    """Weights that are rounded to float8 in the forward pass; the parameter itself may be kept so as well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 1))
        self.scale = nn.Parameter(torch.ones(1).to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rounded = self.weight.to(torch.float8_e4m3fn).to(torch.float32)
        return inputs @ (self.weight + (rounded - self.weight).detach()) * self.scale.float()


@rows.row(
    "float8 parameters",
    *[TURN] * 6,
    ledger={"applied 1×": 6},
    bug="no `zero_grad`",
    code="OT101",
)
def in_float8(broken: bool) -> Any:
    model = Quantised()
    optimizer = torch.optim.Adam([model.weight], lr=1e-2)
    for inputs, targets in batches(6):
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model, optimizer


@rows.row(
    "complex parameters",
    *[TURN] * 6,
    ledger={"applied 1×": 6},
    bug="`backward` is missing after the first turn",
    code="OT102",
)
def complex_weights(broken: bool) -> Any:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 1, dtype=torch.complex64))
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    for index, (inputs, targets) in enumerate(batches(6)):
        if not broken or not index:
            optimizer.zero_grad()
            (inputs.to(torch.complex64) @ weight - targets).abs().square().mean().backward()
        optimizer.step()
    return weight, optimizer


@rows.row(
    "sparse embeddings",
    *["zero_grad zero_grad backward step step"] * 6,
    ledger={"applied 1×": 6 * 3},
    bug="the embedding's optimizer is never cleared",
    code="OT101",
)
def sparse(broken: bool) -> Any:
    torch.manual_seed(0)
    table, head = nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1)
    of_table = torch.optim.SparseAdam(table.parameters(), lr=1e-2)
    of_head = torch.optim.SGD(head.parameters(), lr=0.05)
    for index, (_, targets) in enumerate(batches(6)):
        if not broken:
            of_table.zero_grad()
        of_head.zero_grad()
        F.mse_loss(head(table(torch.arange(index, index + 8) % 10)), targets).backward()
        of_table.step()
        of_head.step()
    return table, head, of_table


# torch.compile. What is compiled is part of what recording must leave as it is.


def counting(graphs: list[str]) -> Callable[..., Any]:
    """A backend that runs what it is given, and keeps its code."""

    def backend(module: Any, examples: Any) -> Any:
        graphs.append(module.code)
        return module.forward

    torch._dynamo.reset()
    return backend


@rows.row(
    "`torch.compile` of the model",
    *[TURN] * 4,
    ledger={"applied 1×": 4 * 4},
    bug="no `zero_grad`",
    code="OT101",
)
def compiled_model(broken: bool) -> Any:
    graphs: list[str] = []
    model = mlp()
    compiled = torch.compile(model, backend=counting(graphs), fullgraph=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for inputs, targets in batches(4):
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(compiled(inputs), targets).backward()
        optimizer.step()
    return model, optimizer, graphs


@rows.row(
    "`torch.compile` of the whole turn",
    *["zero_grad backward step scheduler_step"] * 4,
    ledger={"applied 1×": 4 * 4},
    bug="cleared between `backward` and `step`",
    code="OT103",
)
def compiled_turn(broken: bool) -> Any:
    graphs: list[str] = []
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-2))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    @torch.compile(backend=counting(graphs))
    def turn(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not broken:
            optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        if broken:
            optimizer.zero_grad()
        optimizer.step()
        return loss

    losses = []
    for inputs, targets in batches(4):
        losses.append(turn(inputs, targets))
        scheduler.step()
    return model, optimizer, graphs, losses


class Plain(torch.optim.Optimizer):
    """An optimizer that is not torch's, which the compiler takes in whole."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])


@rows.row(
    "`torch.compile` of clipping and step (`fullgraph=True`)",
    *[TURN] * 4,
    ledger={"applied 1×": 4 * 4},
    bug="no `zero_grad`",
    code="OT101",
    says="inside compiled code, clip_grad_norm_() and the like are seen by what they did, at the next event",
)
def compiled_step(broken: bool) -> Any:
    graphs: list[str] = []
    model = mlp()
    optimizer = Plain(model.parameters(), lr=0.05)

    @torch.compile(backend=counting(graphs), fullgraph=True)
    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for inputs, targets in batches(4):
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        update()
    return model, optimizer, graphs


def graphed() -> Any:
    model = mlp().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.05, device="cuda"))
    data = [(inputs.cuda(), targets.cuda()) for inputs, targets in batches(4)]
    inputs, targets = (torch.empty_like(part) for part in data[0])

    def turn() -> None:
        optimizer.zero_grad(set_to_none=False)
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        turn()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        turn()
    for index, batch in enumerate(data):
        inputs.copy_(batch[0])
        targets.copy_(batch[1])
        graph.replay()
        optrace.mark("replayed", index)
    return model


@rows.held_by("CUDA graphs left alone", "", "")
def test_cuda_graphs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    skip_without("cuda")
    torch.manual_seed(7)
    bare = plain(graphed())
    torch.manual_seed(7)
    with recording(tmp_path / "run.optrace"):
        alive = graphed()
    assert plain(alive) == bare
    assert capfd.readouterr().err.count("the calls that a CUDA graph captures are not recorded") == 1
    trace = optrace.load(tmp_path / "run.optrace")
    assert [event.kind for event in trace.events].count("mark") == 4
    assert not [f for f in optrace.check(trace) if f.severity != "hint"]


# Without values


@rows.row(
    "meta and lazy modules",
    "load_state zero_grad backward step",
    *[TURN] * 5,
    ledger={"applied 1×": 6 * 4},
    bug="the optimizer is given the modules before they are filled",
    code="OT108",
    also=("OT107",),
)
def filled(broken: bool) -> Any:
    lazy = nn.LazyLinear(1)
    with torch.device("meta"):
        later = nn.Linear(4, 1)
    early = list(later.parameters())
    lazy(torch.zeros(1, 4))
    torch.manual_seed(0)
    with torch.no_grad():
        lazy.weight.normal_()
    later = later.to_empty(device="cpu")
    later.load_state_dict(lazy.state_dict())
    chosen = [p.to("cpu") if not p.is_meta else nn.Parameter(torch.zeros(p.shape)) for p in early]
    optimizer = torch.optim.SGD(chosen if broken else [*lazy.parameters(), *later.parameters()], lr=0.05)
    for inputs, targets in batches(6):
        optimizer.zero_grad()
        F.mse_loss(lazy(inputs) + later(inputs), targets).backward()
        optimizer.step()
    return lazy, later


@rows.row(
    "training on the meta device",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 2},
    bug="no `zero_grad`",
    code="OT101",
    says="cannot record the values of the gradient of weight and the like: it is on the meta device",
)
def dry_run(broken: bool) -> Any:
    with torch.device("meta"):
        model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for inputs, _ in batches(6):
        if not broken:
            optimizer.zero_grad()
        model(inputs.to("meta")).sum().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
