"""What was done by hand between two calls, and by code that ran out of sight: events that no call made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from optrace.recording.compiled import compilable
from optrace.recording.entries import slots
from optrace.recording.frame import Change
from optrace.recording.scopes import Scope
from optrace.trace.format import Flag, Op

if TYPE_CHECKING:
    from optrace.recording.recorder import Recorder

_now = time.perf_counter_ns
_BY_HAND = int(Flag.BY_HAND)


class Noticing:
    """Finds what changed since the last event, and says who did it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.met = 0
        """How many optimizers there were when their state was looked at."""

    def notice(self, stack: list[Scope], chain: int, deep: bool) -> None:
        """At the top level it was done by hand; inside another recorded call it is that call's work."""
        recorder = self._recorder
        tracked = recorder.tracked()
        watch, frame = recorder.watch, recorder.frame
        inside = stack[-1].kind if stack else ""
        if recorder.compiled.stepped:  # it may have written without torch counting it
            for slot in (slot for entry in tracked for slot in slots(entry)):
                slot.distrust()
        changes = [] if watch.untouched(tracked) else watch.parameters(tracked)
        changes += watch.gradients(tracked, inside == "backward", deep, frame if inside else None)
        if not changes:
            return
        if stack:
            frame.add(changes, before=True)
            return
        changes = frame.post.certain(changes)
        if recorder.compiled.stepped:
            changes = self._compiled_steps(changes, chain)
        cleared = [c for c in changes if c[1] == Op.CLEAR or c[1] == Op.ZERO]
        altered = [c for c in changes if c[1] == Op.CHANGE]
        if altered:  # first, for whoever trains by hand uses the gradients and then clears them
            frame.add(altered)
            self._by_hand("mutation", chain)
            if not recorder.any_step and any(slot.kind == "param" for slot, _ in altered):
                recorder.turns.stepped = True  # a loop that trains by hand comes round like any other
        if cleared:
            frame.add(cleared)
            self._by_hand("zero_grad", chain)
        first = [c for c in changes if c[1] == Op.INIT]
        if first:
            frame.add(first, before=True)

    def meet_optimizers(self) -> None:
        """State that new optimizers came with: made by their constructor, or before the recording."""
        recorder = self._recorder
        for entry in recorder.registry.optimizers:
            optimizer = entry.ref() if entry.id >= self.met else None
            changes = [] if optimizer is None else recorder.watch.state(entry, optimizer, deep=False, aliases=[])
            if changes:
                recorder.frame.add(changes, before=True)
        self.met = recorder.registry.count

    def _compiled_steps(self, changes: list[Change], chain: int) -> list[Change]:
        """Steps that ran in compiled code since the last event, as events; the changes that they do not explain."""
        recorder = self._recorder
        replayed = recorder.compiled.replayed
        recorder.compiled.stepped = recorder.compiled.replayed = False
        for entry in recorder.registry.optimizers:
            optimizer = entry.ref()
            held = {t.id for t in entry.plan}
            mine = [c for c in changes if c[1] == Op.CHANGE and c[0].parameter in held]
            moved = [c for c in mine if c[0].kind == "param"]
            if optimizer is None or not moved or not (replayed or compilable(optimizer)):
                continue
            changes = [c for c in changes if c not in mine]
            recorder.frame.add([c for c in mine if c not in moved], before=True)  # the gradients, clipped perhaps
            scope = Scope("step", optimizer, chain, _now())
            scope.flags = _BY_HAND
            scope.groups = recorder.registry.groups.version(entry, optimizer)
            recorder.frame.add(moved + recorder.watch.state(entry, optimizer, deep=True, aliases=[]))
            entry.steps += 1
            recorder.emit(scope, 0, entry.id)
        return changes

    def _by_hand(self, kind: str, chain: int) -> None:
        scope = Scope(kind, None, chain, _now())
        scope.flags = _BY_HAND
        if self._recorder.last_chain >= 0:
            scope.detail = {"after_stack": self._recorder.last_chain}
        self._recorder.emit(scope, 0, -1)
