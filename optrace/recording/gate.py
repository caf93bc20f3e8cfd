"""Iterations that are not recorded: counting them, and saying so in the trace.

While the gate is shut a call costs its line's look-up and nothing else: no value is read. Numbers of
iterations go on as they would. A `gap` event says what is missing and marks every value known before it as
lost; when the gate opens again every value is read anew: nothing after a gap rests on what was before it.
"""

from __future__ import annotations

import json
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from optrace.recording.capture import Slot
from optrace.recording.entries import Tracked, slots
from optrace.recording.pace import Pace
from optrace.recording.scopes import Scope
from optrace.trace.format import Op

if TYPE_CHECKING:
    from optrace.recording.recorder import Recorder


class Gate:
    """Decides at every outermost call whether it is recorded."""

    def __init__(self, recorder: Recorder, pace: Pace) -> None:
        self._recorder = recorder
        self._pace = pace
        self.shut = False
        self._from = (0, 0)
        self._event = -1  # the number of the gap's event, once it is written
        self._missed = 0
        self._why = ""
        self._lost: list[Slot] = []
        if not pace.wants(0):
            self._shut((0, 0))

    def closed(self, stack: list[Scope], kind: str, chain: int, target: object, frame: FrameType) -> bool:
        """Whether a call that begins now is left out."""
        if stack:
            return not stack[-1].recorded
        recorder, pace = self._recorder, self._pace
        if pace.spent and not self.shut:
            self._shut((recorder.turns.iteration, recorder.turns.index))
        if self.shut and not recorder.any_step and recorder.registry.dirty:  # it may be a loop that trains by hand
            recorder.registry.refresh(frame)
            recorder.frame.post.look(recorder.watch.parameters(recorder.tracked()))
        turns = recorder.turns
        comes_round = turns.would_begin((kind, chain), 0 if target is None else id(target))
        if comes_round and (turns.stepped or self._trained_by_hand(chain)):
            wanted = pace.wants(turns.iteration + 1)
            if self.shut and wanted:
                self._open(frame)
            elif not self.shut and not wanted:
                # What was done by hand belongs to the iteration that ends.
                recorder.noticing.notice([], chain, deep=True)
                self._shut((turns.iteration + 1, 0))
            elif not self.shut and recorder.chunks is not None:
                recorder.chunks.turn(chain)
        return self.shut

    def count(self, scope: Scope) -> None:
        """A call was left out. It counts for the iterations all the same."""
        recorder = self._recorder
        turns, target = recorder.turns, scope.target
        turns.passes((scope.kind, scope.chain), 0 if target is None else id(target))
        if scope.kind == "step":
            turns.stepped = recorder.any_step = True
        turns.index += 1
        self._missed += 1
        if self._event < 0:
            self._say()
        elif self._missed & (self._missed - 1) == 0:
            self._correct()

    def finish(self) -> None:
        """The recording ends: what is missing at its end is said too."""
        if self.shut and self._event >= 0:
            self._correct()

    def _shut(self, place: tuple[int, int]) -> None:
        recorder = self._recorder
        self.shut = True
        self._from, self._missed, self._event = place, 0, -1
        self._why = self._pace.why()
        self._lost = [slot for tracked in recorder.parameters.tracked for slot in slots(tracked)]
        recorder.frame.discard()

    def _open(self, frame: FrameType) -> None:
        recorder = self._recorder
        if self._event < 0:
            self._say()
        self._correct()
        self.shut = False
        recorder.turns.turn_over()
        recorder.turned()
        for tracked in recorder.parameters.tracked:
            forget(tracked)
        self._look_afresh(frame)
        recorder.frame.add([(slot, int(Op.GONE)) for slot in self._lost if slot.content is None], before=True)

    def _say(self) -> None:
        """The gap's event. It comes at once: whoever is killed in a gap leaves a trace that says so."""
        recorder = self._recorder
        for slot in self._lost:
            recorder.frame.lose(slot)
        turns = recorder.turns
        detail = self._detail()
        now = turns.iteration, turns.index
        turns.iteration, turns.index = self._from
        scope = Scope("gap", None, -1, time.perf_counter_ns())
        scope.detail = detail
        self._event = recorder.events
        recorder.emit(scope, 0, -1)
        turns.iteration, turns.index = now

    def _correct(self) -> None:
        """How long the gap has become."""
        row = "UPDATE detail SET value = ? WHERE event = ?"
        self._recorder.writer.row(row, json.dumps(self._detail()), self._event)

    def _detail(self) -> dict[str, Any]:
        return {"last": self._recorder.turns.iteration, "events": self._missed, "reason": self._why}

    def _look_afresh(self, frame: FrameType) -> None:
        """Read every value, as if for the first time."""
        recorder = self._recorder
        recorder.registry.refresh(frame)
        recorder.watch.restart()
        tracked = recorder.parameters.tracked
        changes = recorder.watch.parameters(tracked) + recorder.watch.gradients(tracked, deposit=False, deep=True)
        for entry in recorder.registry.optimizers:
            optimizer = entry.ref()
            if optimizer is not None:
                recorder.registry.optimizer(optimizer, frame)
                changes += recorder.watch.state(entry, optimizer, deep=True, aliases=[])
        recorder.noticing.met = recorder.registry.count
        recorder.restating = False
        recorder.frame.add(changes, before=True)

    def _trained_by_hand(self, chain: int) -> bool:
        """Whether a loop without optimizers has moved its parameters in this iteration."""
        recorder = self._recorder
        if recorder.any_step:
            return False
        if not self.shut:
            recorder.noticing.notice([], chain, deep=True)
            return recorder.turns.stepped
        changes = recorder.frame.post.certain(recorder.watch.parameters(recorder.tracked()), learn=True)
        if any(op == Op.CHANGE for _, op in changes):
            recorder.turns.stepped = True
        return recorder.turns.stepped


def forget(tracked: Tracked) -> None:
    """Nothing is known of it any more."""
    for slot in slots(tracked):
        slot.forget()
    tracked.seen = False
