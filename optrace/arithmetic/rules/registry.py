"""How a rule makes itself known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optrace.arithmetic.account import Account, StepInput
from optrace.arithmetic.floating import Real
from optrace.arithmetic.origins import Deposit
from optrace.arithmetic.sheet import Hyper, Sheet

DepositOf = Callable[[StepInput, Hyper], Deposit]


@dataclass(frozen=True)
class Buffer:
    """A state entry that sums up past gradients, and what one step puts into it."""

    state: str
    deposit: DepositOf
    of: str = "gradient"
    """What is summed up."""


@dataclass(frozen=True)
class ElementRule:
    """A rule that treats every number of a parameter by itself."""

    name: str
    source: str
    compute: Callable[[Sheet], Real]
    sparse: bool
    """It takes sparse gradients and leaves what they do not name untouched."""
    buffer: Buffer | None


@dataclass(frozen=True)
class WholeRule:
    """A rule that needs the whole parameter."""

    name: str
    source: str
    compute: Callable[[StepInput, tuple[int, ...]], Account]
    buffer: Buffer | None


Rule = ElementRule | WholeRule

RULES: dict[str, Rule] = {}


def documentation(class_name: str) -> str:
    """Where torch documents an optimizer and its formula."""
    return f"https://docs.pytorch.org/docs/stable/generated/torch.optim.{class_name}.html"


def elementwise(
    *names: str, paper: str = "", sparse: bool = False, buffer: Buffer | None = None
) -> Callable[[Callable[[Sheet], Real]], Callable[[Sheet], Real]]:
    """Register a rule for these classes; its formula is in torch's documentation and in `paper`."""

    def register(compute: Callable[[Sheet], Real]) -> Callable[[Sheet], Real]:
        for name in names:
            RULES[name] = ElementRule(name, _source(name, paper), compute, sparse, buffer)
        return compute

    return register


def whole(
    *names: str, paper: str = "", buffer: Buffer | None = None
) -> Callable[[Callable[[StepInput, tuple[int, ...]], Account]], Callable[[StepInput, tuple[int, ...]], Account]]:
    """As `elementwise`, for rules on whole tensors."""

    def register(
        compute: Callable[[StepInput, tuple[int, ...]], Account],
    ) -> Callable[[StepInput, tuple[int, ...]], Account]:
        for name in names:
            RULES[name] = WholeRule(name, _source(name, paper), compute, buffer)
        return compute

    return register


def _source(name: str, paper: str) -> str:
    return f"torch.optim.{name}, {documentation(name)}" + (f"; {paper}" if paper else "")
