"""What the two rules about ranks say alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optrace.checks.run import Run

if TYPE_CHECKING:
    from optrace.checks.finding import Finding
    from optrace.checks.replicas.compare import Difference
    from optrace.checks.replicas.divergence import Parted
    from optrace.checks.rule import Rule

_LISTED = 3


def rank(trace: Any) -> str:
    """`rank 1`."""
    return f"rank {trace.meta['process_group']['rank']}"


def ranks(found: Sequence[Parted]) -> str:
    """`rank 1`, `ranks 1, 2 and 3`: those that parted from the first."""
    numbers = [str(n) for n in sorted({p.pair.other.meta["process_group"]["rank"] for p in found})]
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    return f"ranks {', '.join(numbers[:-1])} and {numbers[-1]}"


def listed(found: Sequence[Parted]) -> str:
    """Names of the parameters: the first three, and how many more."""
    names = list(dict.fromkeys(parted.parameter.name for parted in found))
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def apart(difference: Difference, name: str) -> str:
    """How much: `0.weight by up to 0.012, 3.1% of its norm`."""
    if difference.largest != difference.largest:  # one of them is not there
        return f"{name} is there on one rank alone"
    sample = ", in the sample of its elements that was kept" if difference.sampled else ""
    return f"{name} by up to {difference.largest:.3g}, {_percent(difference.share)} of its norm{sample}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def most(found: Sequence[Parted], gradients: bool) -> Parted:
    """The parameter that differs most, for its size."""
    return max(found, key=lambda p: (p.gradients if gradients and p.gradients is not None else p.weights).share)


def finding(
    rule: Rule,
    found: Sequence[Parted],
    *,
    message: str,
    fix: str,
    evidence: dict[str, Any],
    seq: int | None = None,
) -> Finding:
    """The finding, as seen from the first rank. `seq` is its event; by default the step after which they differ."""
    first = min(found, key=lambda parted: parted.moment)
    pair, moment = first.pair, first.moment
    traces = list(dict.fromkeys([pair.one.process, *(p.pair.other.process for p in found)]))
    run = rule.run if rule.run.trace is pair.one else Run(pair.one)
    return run.finding(
        rule,
        message=message,
        fix=fix,
        seq=int(pair.moments.together[moment, 0]) if seq is None else seq,
        count=pair.count - moment,
        last=int(pair.moments.together[-1, 0]),
        severity="error" if first.certain else "warning",
        parameters=sorted({p.parameter.id for p in found if p.pair.one is pair.one}),
        processes=traces,
        evidence={
            "largest_difference": most(found, False).weights.largest,
            "share_of_norm": most(found, False).weights.share,
            "sampled": any(p.weights.sampled for p in found),
            "ranks": sorted({t.meta["process_group"]["rank"] for p in found for t in p.pair.both}),
            **evidence,
        },
    )
