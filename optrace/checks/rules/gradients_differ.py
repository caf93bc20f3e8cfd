"""OT701: ranks that train replicas of one model apply gradients of their own."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.finding import Finding
from optrace.checks.replicas.divergence import Parted, replicas
from optrace.checks.replicas.words import apart, finding, listed, most, ranks
from optrace.checks.rule import Rule


class GradientsDiffer(Rule):
    code = "OT701"
    name = "gradients-differ-across-ranks"
    severity = "error"
    bug = "The ranks of one process group step replicas of a model, each with gradients of its own."
    why = (
        "The replicas drift apart, and each has learned from its own part of the data alone. What is saved at the end "
        "is one of them; averaging the loss does not help, for gradients come from each rank's own graph."
    )
    broken = """\
model = DistributedDataParallel(net)
for n, (x, y) in enumerate(micro_batches):
    with model.no_sync():                  # the last one too
        loss_fn(model(x), y).backward()
optimizer.step()
"""
    fixed = """\
model = DistributedDataParallel(net)
for n, (x, y) in enumerate(micro_batches):
    last = n == len(micro_batches) - 1
    with nullcontext() if last else model.no_sync():
        loss_fn(model(x), y).backward()
optimizer.step()
"""

    def finish(self) -> Iterator[Finding]:
        found = [parted for parted in replicas(self.run).parted if parted.gradients is not None]
        if not found:
            return
        first, worst = found[0], most(found, True)
        assert worst.gradients is not None
        when = first.pair.one.events[int(first.pair.moments.together[first.moment, 0])]
        yield finding(
            self,
            found,
            message=(
                f"The step at {when.position} applies other gradients on {ranks(found)} than on rank "
                f"{first.pair.one.meta['process_group']['rank']}, and from then on the weights differ: the gradient of "
                f"{apart(worst.gradients, worst.parameter.name)} (parameters: {listed(found)})."
            ),
            fix=self._fix(found),
            evidence={
                "largest_gradient_difference": worst.gradients.largest,
                "gradient_share_of_norm": worst.gradients.share,
            },
        )

    def _fix(self, found: list[Parted]) -> str:
        first = found[0]
        wrapped = [p for p in found if p.parameter.placement is not None]
        if wrapped:
            return (
                "Run the last backward before the step outside `no_sync()`, and the forward before it through the "
                "DistributedDataParallel object, not its `.module`."
            )
        if first.certain:
            return f"Put {listed(found)} into the module that DistributedDataParallel wraps."
        return (
            "Wrap the model in DistributedDataParallel, or average the gradients (not the loss) over the ranks before "
            "the step."
        )
