"""What a loop can be run under: nothing, optrace, or what people use now. Started and stopped for every round."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import optrace
from benchmarks.workloads import Workload

After = Callable[[], None]
"""Called after each turn of the loop."""
Recorder = Callable[[Workload, Path], Any]
"""A context manager for as long as turns are recorded; gives what is to be called after each turn, or None."""


class Unavailable(Exception):
    """This cannot be measured here; says why."""


@contextmanager
def nothing(workload: Workload, folder: Path) -> Iterator[After | None]:
    yield None


@contextmanager
def exact(workload: Workload, folder: Path) -> Iterator[After | None]:
    """Every value of every event."""
    with _recording(folder, budget="1TB") as after:
        yield after


@contextmanager
def sampled(workload: Workload, folder: Path) -> Iterator[After | None]:
    """Statistics and a sample of every tensor at every event."""
    if "capture" in inspect.signature(optrace.record).parameters:
        with _recording(folder, budget="1TB", capture="sampled") as after:
            yield after
    else:
        raise Unavailable("this optrace cannot be told to sample")


@contextmanager
def _recording(folder: Path, **options: Any) -> Iterator[After | None]:
    path = folder / "run.optrace"
    try:
        with optrace.record(path, overwrite=True, **options) as recording:
            yield None
        if recording.failure is not None:
            raise Unavailable(recording.failure)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def torch_save(workload: Workload, folder: Path) -> Iterator[After | None]:
    """`torch.save` of model and optimizer after each step, over the same file."""
    path = folder / "state.pt"

    def save() -> None:
        torch.save({"model": workload.model.state_dict(), "optimizer": workload.optimizer.state_dict()}, path)

    try:
        yield save
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def tensorboard(workload: Workload, folder: Path) -> Iterator[After | None]:
    """`add_histogram` of every parameter and gradient after each step."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Unavailable("tensorboard is not installed") from error
    writer = SummaryWriter(str(folder / "tensorboard"))
    steps = itertools.count()

    def add() -> None:
        step = next(steps)
        for name, parameter in workload.model.named_parameters():
            writer.add_histogram(name, parameter, step)
            if parameter.grad is not None:
                writer.add_histogram(f"{name}.grad", parameter.grad, step)

    try:
        yield add
    finally:
        writer.close()
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)


@contextmanager
def wandb(workload: Workload, folder: Path) -> Iterator[After | None]:
    """`watch(log="all", log_freq=1)`, offline, and a `log` after each step."""
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(folder), WANDB_CACHE_DIR=str(folder))
    os.environ.update(WANDB_CONFIG_DIR=str(folder), WANDB_DATA_DIR=str(folder), WANDB_ERROR_REPORTING="false")
    try:
        import wandb
    except ImportError as error:
        raise Unavailable("wandb is not installed") from error
    logging.getLogger("wandb").setLevel(logging.CRITICAL)
    settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
    run = wandb.init(mode="offline", dir=str(folder), project="benchmark", settings=settings)
    try:
        run.watch(workload.model, log="all", log_freq=1)
        yield lambda: run.log({"step": 0.0})
        run.unwatch(workload.model)
    finally:
        run.finish()
        shutil.rmtree(folder / "wandb", ignore_errors=True)


RECORDERS: dict[str, Recorder] = {
    "optrace exact": exact,
    "optrace sampled": sampled,
    "torch.save": torch_save,
    "TensorBoard": tensorboard,
    "wandb": wandb,
}
