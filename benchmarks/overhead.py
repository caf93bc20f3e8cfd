"""What recording costs the training thread, as a ratio to the bare loop.

The bare and the recorded loop take turns within one process, so that a noisy machine slows both;
each turn's ratio is taken, and their median and spread are printed. Beside it stands what people
do otherwise: torch.save of model and optimizer after each step.

    python benchmarks/overhead.py [--turns N] [--threads N] [workload …]
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import optrace

Step = Callable[[], None]


def line() -> tuple[Step, nn.Module, torch.optim.Optimizer, int]:
    """The loop of demos/line_sgd_adam.py: Linear(1, 1), batch size 1, SGD."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, targets = torch.randn(1, 1), torch.randn(1, 1)
    return _loop(model, optimizer, inputs, targets), model, optimizer, 2000


def mlp(batch: int) -> tuple[Step, nn.Module, torch.optim.Optimizer, int]:
    """98,880 parameters, Adam: 1.6 MB of values change in every iteration."""
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))
    optimizer = torch.optim.Adam(model.parameters())
    inputs, targets = torch.randn(batch, 64), torch.randn(batch, 64)
    return _loop(model, optimizer, inputs, targets), model, optimizer, 100


def _loop(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor) -> Step:
    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()

    return step


WORKLOADS = {
    "line": line,
    "mlp-64": lambda: mlp(64),
    "mlp-512": lambda: mlp(512),
    "mlp-4096": lambda: mlp(4096),
}


def seconds(step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - start


def measure(name: str, turns: int, folder: Path) -> str:
    torch.manual_seed(0)
    step, model, optimizer, count = WORKLOADS[name]()
    seconds(step, count)
    bare, recorded, saved, written = [], [], [], []
    for turn in range(turns):
        bare.append(seconds(step, count))
        path = folder / f"{name}-{turn}.optrace"
        with optrace.record(path, budget="64GB"):
            seconds(step, max(2, count // 20))  # the first events also store names, sources and first values
            recorded.append(seconds(step, count))
        written.append(sum(file.stat().st_size for file in path.iterdir()) / 1e6)
        shutil.rmtree(path)

        def saving() -> None:
            step()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, io.BytesIO())

        saved.append(seconds(saving, max(1, count // 10)) * 10)
    ratios = [a / b for a, b in zip(recorded, bare, strict=True)]
    others = [a / b for a, b in zip(saved, bare, strict=True)]
    base = statistics.median(bare) / count * 1e6
    return (
        f"{name:10} {base:9.1f} µs {statistics.median(ratios):7.2f}× {min(ratios):6.2f}–{max(ratios):.2f}"
        f" {statistics.median(others):9.2f}× {statistics.median(written) / statistics.median(recorded):8.1f} MB/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="workload", help=", ".join(WORKLOADS))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, help="torch's own threads (its default if left out)")
    parser.add_argument("--folder", type=Path, help="where traces are written")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.turns} turns")
    print("workload   bare, per turn  recorded  spread      torch.save   written")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.workloads:
            print(measure(name, options.turns, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
