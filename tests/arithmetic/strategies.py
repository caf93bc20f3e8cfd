"""Generated optimizers: class, hyperparameters, dtype, implementation, gradients."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st

from .torch_steps import steps

REAL = ("float64", "float32", "bfloat16", "float16")
COMPLEX = ("complex64", "complex128")
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
CAPTURABLE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adadelta", "ASGD")
SHAPES = ((), (3,), (2, 3), (45,))

_rate = st.sampled_from([1e-4, 1e-3, 0.01, 0.05, 0.1, 0.37, 1.0])
_decay = st.sampled_from([0.0, 0.0, 1e-4, 0.01, 0.3])
_beta = st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.95, 0.99])
_betas = st.tuples(_beta, st.sampled_from([0.3, 0.9, 0.99, 0.999]))
_eps = st.sampled_from([1e-8, 1e-8, 1e-5, 1e-3])
_plain = {"lr": _rate, "weight_decay": _decay, "maximize": st.booleans()}
_sgd = st.one_of(
    st.fixed_dictionaries(
        {**_plain, "momentum": st.sampled_from([0.0, 0.5, 0.9, 0.99]), "dampening": st.sampled_from([0.0, 0.1, 0.9])}
    ),
    st.fixed_dictionaries({**_plain, "momentum": st.sampled_from([0.5, 0.9]), "nesterov": st.just(True)}),
)
_adam = {**_plain, "betas": _betas, "eps": _eps}

HYPER: dict[str, Any] = {
    "SGD": _sgd,
    "Adam": st.fixed_dictionaries(_adam | {"amsgrad": st.booleans(), "decoupled_weight_decay": st.booleans()}),
    "AdamW": st.fixed_dictionaries(_adam | {"amsgrad": st.booleans()}),
    "Adamax": st.fixed_dictionaries(_adam),
    "NAdam": st.fixed_dictionaries(
        _adam | {"decoupled_weight_decay": st.booleans(), "momentum_decay": st.sampled_from([4e-3, 0.1])}
    ),
    "RAdam": st.fixed_dictionaries(_adam | {"decoupled_weight_decay": st.booleans()}),
    "RMSprop": st.fixed_dictionaries(
        _plain
        | {
            "alpha": st.sampled_from([0.5, 0.9, 0.99]),
            "eps": _eps,
            "momentum": st.sampled_from([0.0, 0.9]),
            "centered": st.booleans(),
        }
    ),
    "Rprop": st.fixed_dictionaries(
        {"lr": _rate, "maximize": st.booleans(), "etas": st.sampled_from([(0.5, 1.2), (0.3, 2.0)])}
    ),
    "Adagrad": st.fixed_dictionaries(
        _plain
        | {
            "lr_decay": st.sampled_from([0.0, 0.1]),
            "eps": _eps,
            "initial_accumulator_value": st.sampled_from([0.0, 0.1]),
        }
    ),
    "Adadelta": st.fixed_dictionaries(_plain | {"rho": st.sampled_from([0.5, 0.9, 0.99]), "eps": _eps}),
    "ASGD": st.fixed_dictionaries(
        _plain
        | {
            "lambd": st.sampled_from([1e-4, 0.1]),
            "alpha": st.sampled_from([0.75, 0.5]),
            "t0": st.sampled_from([1, 1e6]),
        }
    ),
}


@dataclass(frozen=True)
class Case:
    """One generated run of an optimizer."""

    family: str
    dtype: str
    mode: str
    shape: tuple[int, ...]
    hyper: dict[str, Any]
    seed: int
    scales: list[float] = field(default_factory=list)

    def steps(self) -> Iterator[Any]:
        """Its steps, as the arithmetic wants to see them."""
        generator = torch.Generator().manual_seed(self.seed)
        dtype = getattr(torch, self.dtype)

        def draw(scale: float) -> torch.Tensor:
            wide = torch.complex128 if dtype.is_complex else torch.float64
            return (torch.randn(self.shape, dtype=wide, generator=generator) * scale).to(dtype)

        parameter = torch.nn.Parameter(draw(1.0))
        hyper = dict(self.hyper)
        if "capturable" in self.mode:
            hyper["capturable"] = True
        if self.mode == "tensor lr":
            hyper["lr"] = torch.tensor(hyper["lr"])
        if self.mode == "fused":
            hyper["fused"] = True
        else:
            hyper["foreach"] = "foreach" in self.mode
        with capturable_on_cpu():
            optimizer = getattr(torch.optim, self.family)([parameter], **hyper)
            yield from steps(optimizer, parameter, [draw(scale) for scale in self.scales])


def modes(family: str, dtype: str) -> list[str]:
    """The implementations that torch has for a family on the CPU; capturable ones once it is let."""
    found = ["single", "foreach", "tensor lr"]
    if family in FUSED and dtype in REAL:
        found.append("fused")
    if family in CAPTURABLE:
        found += ["capturable", "capturable foreach"]
    return found


def cases(family: str, dtype: str, mode: str) -> st.SearchStrategy[Case]:
    """Runs of a few steps, with gradients of changing size, zero among them.

    Left out are narrow 0-dim parameters with `capturable`, which torch promotes to float32, and narrow parameters
    of 32 numbers or more with fused SGD, of which torch 2.13's CPU kernel updates only the last few.
    """
    narrow = dtype in ("bfloat16", "float16")
    shapes = [
        shape
        for shape in SHAPES
        if not (narrow and "capturable" in mode and shape == ())
        and not (narrow and (family, mode) == ("SGD", "fused") and shape == (45,))
    ]
    return st.builds(
        Case,
        family=st.just(family),
        dtype=st.just(dtype),
        mode=st.just(mode),
        shape=st.sampled_from(shapes),
        hyper=HYPER[family],
        seed=st.integers(0, 2**16),
        scales=st.lists(st.sampled_from([1.0, 1.0, 0.01, 1e-4, 10.0, 300.0, 0.0]), min_size=1, max_size=7),
    )


@contextmanager
def capturable_on_cpu() -> Iterator[None]:
    """torch refuses `capturable` on the CPU, although its code computes there as anywhere."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("torch.optim.") and hasattr(module, "_get_capturable_supported_devices")
    ]
    kept = [module._get_capturable_supported_devices for module in modules]
    try:
        for module in modules:
            module._get_capturable_supported_devices = lambda *args, **kwargs: ["cpu"]
        yield
    finally:
        for module, function in zip(modules, kept, strict=True):
            module._get_capturable_supported_devices = function
