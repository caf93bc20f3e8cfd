"""How each kind of event is shown: a letter, a word, a role."""

from __future__ import annotations

from dataclasses import dataclass

from optrace.trace.format import KINDS


@dataclass(frozen=True)
class Kind:
    """A kind of event on the screen."""

    letter: str
    word: str
    role: str


SHOWN = {
    "zero_grad": Kind("Z", "zero_grad", "event-clear"),
    "backward": Kind("B", "backward", "event-backward"),
    "step": Kind("S", "step", "event-step"),
    "clip": Kind("C", "clip", "event-other"),
    "scheduler_step": Kind("L", "learning rate", "event-other"),
    "unscale": Kind("U", "unscale", "event-other"),
    "scaler_update": Kind("A", "scaler update", "event-other"),
    "load_state": Kind("R", "load state", "event-other"),
    "mutation": Kind("M", "changed by hand", "event-clear"),
    "mark": Kind("•", "mark", "event-other"),
    "gap": Kind("≀", "not recorded", "event-other"),
}
assert set(SHOWN) == set(KINDS)
