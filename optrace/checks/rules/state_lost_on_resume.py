"""OT207: weights were loaded, the optimizer over them starts from nothing."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.lives import lives
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run


class StateLostOnResume(Rule):
    code = "OT207"
    name = "state-lost-on-resume"
    severity = "hint"
    bug = "The model's weights were loaded from a checkpoint, the optimizer's state was not."
    why = (
        "A resumed run does not go on where the saved one stood: momentum and moments are empty, and the loss jumps. "
        "(Starting a new training from pretrained weights is fine.)"
    )
    broken = """\
model.load_state_dict(checkpoint["model"])
optimizer = Adam(model.parameters())
"""
    fixed = """\
model.load_state_dict(checkpoint["model"])
optimizer = Adam(model.parameters())
optimizer.load_state_dict(checkpoint["optimizer"])
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._lives = lives(run)

    def piece(self, piece: Piece) -> None:
        self._lives.feed(piece)

    def finish(self) -> Iterator[Finding]:
        mine = self._lives
        if not mine.module_loads:
            return
        loads = [(seq, frozenset(self.run.event(seq).detail.get("parameters", ()))) for seq in mine.module_loads]
        memberships = self.run.cohorts.memberships
        for owner, first in sorted(mine.first_step.items(), key=lambda item: item[1]):
            lost = effects(self.run).stateful.get(owner)
            held = memberships.held_by(owner)
            if not lost or mine.loaded_before_first_step(self.run, owner):
                continue
            for seq, loaded in loads:
                if seq < first and held and held <= loaded:
                    name, site = self.run.called(owner), self.run.site(seq)
                    yield self.run.finding(
                        self,
                        message=f"All parameters of `{name}` were loaded, and `{name}` starts with no "
                        f"{', '.join(sorted(lost))}.",
                        fix=f"If this resumes a run, load the state_dict of `{name}` too, beside "
                        f"{self.run.line(site)}.",
                        seq=seq,
                        last=first,
                        parameters=held,
                        optimizers=[owner],
                        evidence={"first_step": str(self.run.event(first).position), "missing": sorted(lost)},
                    )
                    return
