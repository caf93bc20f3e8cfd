"""The last iterations alone: where the run is cut into chunks, and how much room they may take.

At the first call of an iteration that begins a chunk every value is stored once more, so that the trace can begin
there. The writer lets go of a chunk when those after it hold as many iterations as were asked for, or when there is no
room for another (`optrace.trace.ring`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from optrace.recording.capture import Slot
from optrace.recording.entries import slots
from optrace.recording.frame import Change, Frame
from optrace.recording.options import Options
from optrace.recording.pace import CLOSING, LEAST_LOOK, Pace
from optrace.recording.placements import local_of
from optrace.recording.size import format_size
from optrace.trace.format import RECORD, Op, tensors_file
from optrace.trace.ring import FIRST, Chunk, Needed
from optrace.trace.writer import TraceWriter

if TYPE_CHECKING:
    from optrace.recording.recorder import Recorder

PARTS = 8
"""A chunk is one part in so many of the iterations asked for, or of the budget."""
LEAST_CHUNK = 256 << 10
"""Bytes below which a chunk is not worth its file, however few iterations were asked for."""


class RingPace(Pace):
    """All is kept exactly, for what is old makes way."""

    def __init__(self, options: Options, writer: TraceWriter, frame: Frame, sizes: Callable[[], int]) -> None:
        super().__init__(options, writer, frame, sizes)
        self.selective = True  # the gate sees where iterations begin

    def turn(self, iteration: int, event: int) -> bool:
        """A recorded iteration begins; none is a keyframe."""
        return False

    def reduced(self, iteration: int, event: int) -> None:
        """A value was not kept for want of room: the budget does not hold even one iteration. Say so."""
        if self.capture == "exact":
            self.capture = "nothing"
            why = f"one iteration does not fit into {format_size(self.limit())}"
            self.note(iteration, event, f"{why}: its values are kept only in part")

    def look(self, iteration: int, event: int) -> None:
        """See how much room is left."""
        writer, frame = self._writer, self._frame
        limit = self.limit()
        left = limit - writer.used
        if left < CLOSING // 4 and not self.spent and not writer.crowded:
            if writer.ring is not None and writer.ring.may_let_go:
                writer.crowded = CLOSING
            else:
                self.spent = True
                self.note(iteration, event, f"no room is left in {format_size(limit)}", "nothing")
        frame.until = writer.tensors.size + left - CLOSING // 2
        self.look_at = writer.appended + max(LEAST_LOOK, left // 4)


class Chunks:
    """Cuts one recording into chunks, on the training thread."""

    def __init__(self, recorder: Recorder, last: int) -> None:
        self._recorder = recorder
        self._iterations = max(1, last // PARTS)
        self._chunk = FIRST
        self._began = 0  # bytes appended when the chunk began
        self._largest = 0
        self._file = 0  # where its file of tensors begins
        self._restated = 0  # bytes that all values took
        self._told = False
        self.pending: Chunk | None = None
        """The chunk whose first event is not written yet."""

    def turn(self, chain: int) -> None:
        """An iteration begins with the call that comes now; so does a chunk, if it is time."""
        recorder = self._recorder
        writer, turns = recorder.writer, recorder.turns
        grown = writer.appended - self._began
        room = recorder.pace.limit() // PARTS
        least = max(LEAST_CHUNK, 2 * self._restated)  # storing all values again at most doubles what is written
        enough = turns.iteration + 1 - self._chunk.iteration >= self._iterations and grown >= min(least, room)
        if not enough and grown < room:
            return
        if recorder.frame.codes or len(recorder.tracked()) != len(recorder.parameters.tracked):
            return  # something is half said, or another thread is at work
        recorder.registry.forget_dead()
        self._largest = max(self._largest, grown)
        self._began = writer.appended
        writer.tensors.begin_file(tensors_file(self._chunk.number + 1))
        self._file = writer.tensors.size
        recorder.noticing.notice([], chain, deep=True)  # what was done by hand belongs to the iteration that ends
        turns.turn_over()
        recorder.turned()
        recorder.restating = True

    def restate(self) -> None:
        """All values once more, by the event that comes next."""
        recorder = self._recorder
        changes, found, absent = self._everything()
        frame, turns, tensors = recorder.frame, recorder.turns, recorder.writer.tensors
        before = tensors.size
        frame.add(changes + [(slot, int(Op.RESTATED)) for slot in found], before=True)
        self._restated = tensors.size - before
        self.pending = self._chunk = Chunk(
            number=self._chunk.number + 1,
            event=recorder.events,
            iteration=turns.iteration,
            index=turns.index,
            file=self._file,
            offset=frame.start if frame.codes else tensors.size,
            own=(frame.effects.number(), frame.effects.number()),
            held=tuple(map(_value, found + absent)),
            absent=tuple(map(_value, absent)),
            needed=self._needed(),
        )

    def publish(self) -> None:
        """The writer learns of the chunk, for its first event is written."""
        recorder, pending = self._recorder, self.pending
        if pending is None or recorder.events <= pending.event:
            return
        self.pending = None
        writer, ring = recorder.writer, recorder.writer.ring
        assert ring is not None
        if ring.base:
            recorder.parameters.forget_names(ring.first.needed["parameter"])
        copied = (recorder.events - ring.base) * RECORD.size  # the file of events is there twice for a moment
        limit = recorder.pace.limit()
        wanted = max(self._largest, limit // PARTS + self._restated) + copied + CLOSING
        writer.crowded = max(0, writer.used + wanted - limit)
        writer.chunks.append(pending)
        recorder.pace.look(pending.iteration, pending.event)
        if ring.short and not self._told:
            self._told = True
            held = max(1, pending.iteration - ring.iteration)
            said = f"{format_size(limit)} have room for about {held:,} of the last {ring.last:,} iterations"
            recorder.pace.note(pending.iteration, pending.event, said)
            recorder.say(f"{said}; as many as fit are kept")

    def _needed(self) -> dict[str, Needed]:
        """What events from here on may refer to. Chains of calls and sets of members that are not are forgotten."""
        recorder = self._recorder
        registry, parameters, sites = recorder.registry, recorder.parameters, recorder.sites
        models, groups = registry.models, registry.groups
        recorder.frame.forget_gone()
        said = recorder.frame.mentioned()
        running = [scope for stack in recorder.scopes.by_thread.values() for scope in stack]
        chains = sites.known() | {recorder.last_chain, *(scope.chain for scope in running)}
        recorder.turns.forget(chains)
        recorder.losses.forget(chains)
        effects = recorder.frame.effects
        members = {number for owner in registry.optimizers for number in owner.member_sets}
        groups.forget(members)
        found = {
            "effect": (effects.later(), effects.number()),
            "parameter": ({t.id for t in parameters.tracked} | {s.parameter for s in said}, parameters.count),
            "optimizer": ({owner.id for owner in registry.optimizers} | {s.optimizer for s in said}, registry.count),
            "groups": ({owner.groups_id for owner in registry.optimizers}, groups.count),
            "members": (members, groups.sets),
            "model": ({model.id for model in models.known}, models.count),
            "stack": (chains | {*models.made_at.values()}, sites.count),
        }
        return {table: Needed(frozenset(numbers), made) for table, (numbers, made) in found.items()}

    def _everything(self) -> tuple[list[Change], list[Slot], list[Slot]]:
        """States that changed unseen; the slots of all values that are there; those of values that are not.

        Parameters and gradients have just been looked at.
        """
        recorder = self._recorder
        changes: list[Change] = []
        there: set[int] = set()
        for owner in recorder.registry.optimizers:
            optimizer = owner.ref()
            if optimizer is None:
                continue
            changes += recorder.watch.state(owner, optimizer, deep=True, aliases=[])
            for entry in owner.plan:
                tensor = entry.ref()
                if tensor is not None and optimizer.state.get(tensor):
                    there.update(map(id, entry.state.get(owner.id, {}).values()))
        found: list[Slot] = []
        absent: list[Slot] = []
        for tracked in recorder.parameters.tracked:
            tensor = tracked.ref()
            if tensor is not None:
                own = local_of(tensor) if tracked.spread else tensor
                if _shows(tracked.parameter, own):
                    there.add(id(tracked.parameter))
                gradient = tensor.grad if tracked.leaf else None
                if gradient is not None and _shows(tracked.grad, local_of(gradient) if tracked.spread else gradient):
                    there.add(id(tracked.grad))
            for slot in slots(tracked):
                (found if slot.content is not None and id(slot) in there else absent).append(slot)
        return changes, found, absent


def _shows(slot: Slot, tensor: torch.Tensor) -> bool:
    """Whether the slot shows this tensor's memory, or a copy of it."""
    return slot.pointer == -1 or slot.pointer == tensor.data_ptr()


def _value(slot: Slot) -> tuple[int, str, int]:
    return slot.parameter, slot.kind, slot.optimizer
