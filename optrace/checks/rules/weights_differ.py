"""OT702: ranks that train replicas of one model have other weights, though their gradients agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optrace.checks.finding import Finding
from optrace.checks.replicas.divergence import Pair, Parted, replicas
from optrace.checks.replicas.words import apart, finding, listed, most, rank, ranks
from optrace.checks.rule import Rule
from optrace.trace.model import Event


class WeightsDiffer(Rule):
    code = "OT702"
    name = "weights-differ-across-ranks"
    severity = "error"
    bug = "The ranks of one process group train replicas of a model whose weights are not the same."
    why = (
        "Gradients are averaged over models that stand at different places, and applied where they do not belong. "
        "DistributedDataParallel makes the weights equal once, when it wraps the model, and never looks again."
    )
    broken = """\
model = DistributedDataParallel(net)
optimizer = SGD(model.parameters(), lr=0.1 * (rank + 1))
loss.backward()
if loss < limit:                 # each rank decides by its own loss
    optimizer.step()
"""
    fixed = """\
model = DistributedDataParallel(net)
optimizer = SGD(model.parameters(), lr=0.1)
loss.backward()
dist.all_reduce(total := loss.detach().clone())
if total < limit * world_size:   # all decide alike
    optimizer.step()
"""

    def finish(self) -> Iterator[Finding]:
        found = [parted for parted in replicas(self.run).parted if parted.gradients is None]
        if not found:
            return
        first, worst = found[0], most(found, False)
        pair = first.pair
        position = pair.one.events[int(pair.moments.together[first.moment, 0])].position
        cause, fix, seq = _cause(first)
        when = f"From {'' if first.stepped else 'before '}the step at {position} on"
        yield finding(
            self,
            found,
            message=(
                f"{when}, the weights on {ranks(found)} are not those on {rank(pair.one)}: "
                f"{apart(worst.weights, worst.parameter.name)} (parameters: {listed(found)}). {cause}"
            ),
            fix=fix,
            evidence={},
            seq=seq,
        )


def _cause(first: Parted) -> tuple[str, str, int | None]:
    """Why the weights parted, what to do, and the event to look at where it is not the step itself."""
    pair, moment = first.pair, first.moment
    if not first.stepped and not moment:
        return (
            "They were not made equal when training began.",
            "Leave `init_sync` of DistributedDataParallel on, wrap the model after its weights are set, or load the "
            "same weights on every rank.",
            None,
        )
    skipped = pair.moments.skipped_between(moment)
    if skipped:
        return _skipped(pair, skipped)
    if not first.stepped:
        moment -= 1  # the last step that left them equal
    mine, theirs = (trace.events[int(n)] for trace, n in zip(pair.both, pair.moments.together[moment], strict=True))
    other = _other_settings(pair, mine, theirs)
    if other is not None:
        key, here, there = other
        return (
            f"The gradients are equal; `{key}` is {here} on {rank(pair.one)} and {there} on {rank(pair.other)}.",
            f"Give the optimizer the same `{key}` on every rank, and step its scheduler equally often.",
            None,
        )
    return (
        "The gradients that the steps until then applied are equal.",
        "Look for what only some ranks do to the weights or to the optimizer's state just before: loading, copying, "
        "a scheduler.",
        None,
    )


def _skipped(pair: Pair, skipped: list[tuple[int, int]]) -> tuple[str, str, int | None]:
    place, number = skipped[0]
    maker, other = pair.both[place], pair.both[1 - place]
    event = maker.events[number]
    return (
        f"{rank(maker).capitalize()} made a step at {event.position} that {rank(other)} did not make.",
        "Decide on every rank alike whether to step: by a value that was reduced over all of them.",
        number if place == 0 else None,
    )


def _other_settings(pair: Pair, mine: Event, theirs: Event) -> tuple[str, Any, Any] | None:
    """The first hyperparameter that is not the same on both ranks."""
    for here, there in zip(pair.one.groups(mine), pair.other.groups(theirs), strict=False):
        for key in here.hyper:
            if key in there.hyper and here.hyper[key] != there.hyper[key]:
                return key, here.hyper[key], there.hyper[key]
    return None
