"""The recorder: turns what torch calls do into events of a trace.

Every wrapped call goes through `begin` and `end`. `begin` first looks at what changed since the
last event: at the top level that was done by hand and becomes an event of its own; inside another
recorded call it is that call's work. `end` looks at what this call changed, and writes the event.

Nothing here may reach the user's program: `guarded` turns any failure of ours into one line on
stderr and the end of the recording.
"""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from optrace.recording.capture import Slot
from optrace.recording.compiled import Compiled
from optrace.recording.entries import Tracked, slots
from optrace.recording.frame import Change, Frame
from optrace.recording.gate import Gate
from optrace.recording.losses import LossGraphs
from optrace.recording.noticing import Noticing
from optrace.recording.options import Options
from optrace.recording.pace import Pace
from optrace.recording.registry import Registry
from optrace.recording.ring import Chunks, RingPace
from optrace.recording.sampling import Sketch
from optrace.recording.scopes import Scope, Scopes, frames_above
from optrace.recording.sites import CallSites
from optrace.recording.steady import Steady
from optrace.recording.threads import Threads
from optrace.recording.turns import Line, Turns
from optrace.recording.unseen import unseen
from optrace.recording.watch import Watch
from optrace.trace.format import KIND_CODES, RECORD, Flag, Op
from optrace.trace.stream import Block
from optrace.trace.writer import MOST_ROWS, TraceWriter

_pack = RECORD.pack_into
_now = time.perf_counter_ns
_thread = threading.get_ident
_CODE = KIND_CODES
_RECORD = RECORD.size
_NAN = float("nan")
_LOSS, _EXACT, _FAILED = int(Flag.LOSS), int(Flag.EXACT), int(Flag.FAILED)
_DETAIL, _BY_HAND, _KEYFRAME = int(Flag.DETAIL), int(Flag.BY_HAND), int(Flag.KEYFRAME)


class Recorder:
    """One recording in progress."""

    def __init__(
        self,
        writer: TraceWriter,
        options: Options,
        report: Callable[[str], None],
        base: FrameType | None = None,
    ) -> None:
        self.writer = writer
        self.lock = writer.lock
        self.active = True
        self._resting = False
        self.sites = CallSites(writer, base)
        self.sites.room = options.budget // 32
        self.registry = Registry(writer, self.sites)
        self.parameters = self.registry.parameters
        self.parameters.next_event = lambda: self.events
        self.parameters.on_track = self._select
        self._options = options
        self.frame = Frame(writer)
        self.registry.on_forget = self.frame.forget
        self.chosen = False
        """Whether the values of any parameter were kept."""
        self.watch = Watch(self.registry)
        self.events = 0
        self.turns = Turns(self.registry.gone)
        self.failure: str | None = None
        self.scaling = False  # a GradScaler has scaled something
        self._report = report
        self._began = _now()
        self.any_step = False
        self.scopes = Scopes()
        self._stacks = self.scopes.by_thread
        self.running = self.scopes.running
        self.threads = Threads(writer, self.scopes, self.parameters, self.say)
        self.tracked = self.threads.tracked
        self.losses = LossGraphs(self.registry, self._notice_leaves)
        self._live = self.losses.live
        self.compiled = Compiled(self.say)
        self._told: list[str] = []
        self._unreadable: set[str] = set()  # reasons that were told
        self.last_chain = -1
        self.noticing = Noticing(self)
        self._notice = self.noticing.notice
        self.restating = False
        """The next event begins with a keyframe."""
        self.pace = (Pace if options.last is None else RingPace)(options, writer, self.frame, self._sizes)
        Sketch.complete = True
        Slot.arrive = weakref.WeakMethod(writer.settle_late)
        self.chunks = None if options.last is None else Chunks(self, options.last)
        """Where only the last iterations are kept."""
        self.gate = Gate(self, self.pace)
        self.steady = Steady(self, base)

    # Calls

    @unseen
    def begin(self, kind: str, target: object, frame: FrameType, deep: bool = True) -> Scope:
        """A recorded call starts. `deep` looks for gradients that changed and left no other trace."""
        self.keep_pace()
        return self.start(kind, target, frame, deep)

    def keep_pace(self) -> None:
        """Wait where the writer is far behind. Holding no lock: it needs that to catch up."""
        if self.chunks is not None and self.chunks.pending is not None:
            with self.lock:
                self.chunks.publish()
        if len(self.writer.rows) > MOST_ROWS:
            self.writer.wait_for_rows()
        elif self.writer.crowded:
            self.writer.wait_for_rows()
            with self.lock:
                self.pace.look(self.turns.iteration, self.events)

    def start(self, kind: str, target: object, frame: FrameType, deep: bool = True) -> Scope:
        """`begin`, for a caller that is unseen itself."""
        start = _now()
        with self.lock:
            self.steady.settle()
            chain = self.sites.chain(frame)
            stack = self._stacks.get(_thread())
            if stack is None:
                stack = self.scopes.here()
            elif stack and stack[-1].frame_id:
                self._drop_stale(stack, frame)
            scope = Scope(kind, target, chain, start)
            if self.pace.selective and self.gate.closed(stack, kind, chain, target, frame):
                scope.recorded = False
                stack.append(scope)
                return scope
            if self.registry.dirty:
                self.registry.refresh(frame)
                self.noticing.meet_optimizers()
            self._notice(stack, chain, deep or self.restating)
            if self.restating:
                self._restate()
            stack.append(scope)
            return scope

    def end(self, scope: Scope, changes: list[Change], optimizer: int = -1, failed: bool = False) -> None:
        """A recorded call is over: write its event. The lock is held, the changes were looked up by the caller."""
        stack = self._stacks.get(_thread())
        if stack is None:
            stack = self.scopes.here()
        while stack and stack.pop() is not scope:
            pass
        if not scope.recorded or self.gate.shut:
            self.gate.count(scope)
            return
        if changes:
            self.frame.add(changes)
        if failed:
            scope.flags |= _FAILED
        self.emit(scope, len(stack), optimizer)

    def skip(self, scope: Scope) -> None:
        """A call that falls into a gap is over."""
        with self.lock:
            self.end(scope, [])

    @unseen
    def abandon(self) -> None:
        """At the end of the recording: calls that never came back are events that failed."""
        with self.lock:
            self.steady.settle()
            for stack in list(self._stacks.values()):
                while stack:
                    self._close_stale(stack)
            if self.gate.shut:
                self.gate.finish()
            elif self.events:  # what was done by hand after the last event
                self._notice([], self.last_chain, deep=True)

    def _drop_stale(self, stack: list[Scope], frame: FrameType) -> None:
        """A step that raised has no post hook: it is over when its frame is no longer running."""
        running = frames_above(frame)
        while stack and stack[-1].frame_id and stack[-1].frame_id not in running:
            self._close_stale(stack)

    def _close_stale(self, stack: list[Scope]) -> None:
        scope = stack[-1]
        if not scope.recorded:
            self.end(scope, [])
            return
        entry = scope.entry
        changes = self.watch.parameters(self.parameters.tracked) + self.watch.gradients(
            self.parameters.tracked, deposit=scope.kind == "backward", deep=False
        )
        self.end(scope, changes, entry.id if entry is not None else -1, failed=True)

    def _notice_leaves(self) -> None:
        self._notice(self.scopes.here()[:-1], -1, deep=True)

    def modes(self) -> dict[str, bool] | None:
        """Root modules whose training mode is another than at the last backward."""
        changed: dict[str, bool] | None = None
        for model in self.registry.models.known:
            module = model.ref()
            if module is not None and module.training is not model.training:
                model.training = module.training
                changed = changed or {}
                changed[str(model.id)] = module.training
        return changed

    # Keyframes, and what is kept

    def turned(self) -> None:
        """A recorded iteration begins."""
        look_at = self.pace.look_at
        self.frame.keyframe = self.restating = self.pace.turn(self.turns.iteration, self.events)
        Sketch.complete = self.pace.complete
        if self.pace.look_at != look_at:  # what is kept may be decided otherwise from here on
            self.steady.settle()

    def _restate(self) -> None:
        """A keyframe begins: all values once more, whole."""
        self.restating = False
        if self.chunks is not None:
            self.chunks.restate()
            return
        changes, found = self.watch.current(self.tracked())
        self.frame.add(changes + [(slot, int(Op.RESTATED)) for slot in found], before=True)

    def _select(self, tracked: Tracked) -> None:
        """Of a parameter that was not chosen everything is kept but its values."""
        if not self._options.keeps(tracked.name):
            self.frame.unselected.add(tracked.id)
        else:
            self.chosen = True

    def _sizes(self) -> int:
        """Bytes of all values that would be sampled."""
        return sum(
            slot.form.nbytes
            for tracked in self.parameters.tracked
            for slot in slots(tracked)
            if slot.form is not None and slot.content is not None and slot.form.nbytes > self.frame.small
        )

    # Writing

    def emit(self, scope: Scope, depth: int, optimizer: int) -> None:
        """Write the event of a call that is over. The frame holds what changed."""
        kind, flags = scope.kind, scope.flags
        if scope.chain >= 0 and not flags & _BY_HAND:  # nobody called it, so it says nothing of the loop
            target = scope.target
            self.pass_line((kind, scope.chain), 0 if target is None else id(target))
        if kind == "step":
            self.stepped()
        frame = self.frame
        loss = scope.loss
        late: Any = None
        if loss is None:
            loss = _NAN
        else:
            flags |= _LOSS
            if type(loss) is not float:
                late, loss = loss, _NAN
        detail = scope.detail
        if detail is not None:
            flags |= _DETAIL
            self.writer.detail(self.events, detail)
        effect = frame.effect(self.events)
        if not frame.reduced:
            flags |= _EXACT
        else:
            frame.reduced = False
            self.pace.reduced(self.turns.iteration, self.events)
        block, place = self.record(scope, _CODE[kind], depth, flags, optimizer, effect, loss)
        if late is not None:
            self.writer.late_loss(block.data, place, late)
        if frame.awaited is not None:
            frame.fill_in(block.data, place)
        if self.watch.unreadable:
            self._tell_unreadable()

    def pass_line(self, line: Line, target: int) -> None:
        """The loop comes by one of its lines."""
        turns = self.turns
        turn = turns.iteration
        turns.passes(line, target)
        if turn != turns.iteration:
            self.turned()
        self.last_chain = line[1]

    def stepped(self) -> None:
        """There was a step in this turn, on this thread."""
        self.turns.stepped = self.any_step = True
        if _thread() != self.threads.stepping:
            self.threads.changed()

    def record(
        self, scope: Scope, code: int, depth: int, flags: int, optimizer: int, effect: int, loss: float
    ) -> tuple[Block, int]:
        """Put an event's record among the others: the block that it is in, and where."""
        writer, turns, frame = self.writer, self.turns, self.frame
        if frame.keyframe:
            flags |= _KEYFRAME
        thread = self.threads.numbers.get(_thread())
        if thread is None:
            thread = self.threads.number()
        events = writer.events
        block = events.block
        place = block.used
        if place + _RECORD > events.block_size:
            block, place = events.next_block(), 0
        end = _now()
        start = scope.start
        _pack(
            block.data,
            place,
            code,
            depth if depth < 255 else 255,
            flags,
            thread,
            turns.iteration,
            turns.index,
            end - self._began,
            (end - start) * 1e-9,
            scope.chain,
            optimizer,
            scope.groups,
            effect,
            frame.start,
            loss,
            len(self._live),
        )
        block.used = place + _RECORD
        events.size += _RECORD
        turns.index += 1
        number = self.events
        self.events = number + 1
        sentinel = scope.sentinel
        if sentinel is not None and sentinel.event < 0:
            sentinel.event = number
        if writer.appended > self.pace.look_at:
            self.pace.look(turns.iteration, number + 1)
            self.steady.settle()
        if writer.failed:
            self.active = False
        return block, place

    def _tell_unreadable(self) -> None:
        for why, value in self.watch.unreadable.items():
            if why not in self._unreadable:
                self._unreadable.add(why)
                self.say(f"cannot record the values of {value} and the like: {why}")
        self.watch.unreadable.clear()

    def say(self, text: str) -> None:
        """Tell the user, once, what cannot be recorded; the trace keeps it as well."""
        if text in self._told or not self.active:
            return
        with self.lock:
            self._told.append(text)
            self.writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", "notes", json.dumps(self._told))
        self._report(text)

    # Pausing and failing

    def rest(self) -> None:
        """Record nothing until `resume`: a CUDA graph is being captured, when no thread may ask for a device."""
        try:
            with self.lock:
                self.writer.settle_late()
        except Exception as error:
            self.fail(error)
        self._resting, self.active = self.active, False

    def resume(self) -> None:
        """Go on, unless the recording has ended meanwhile."""
        self.active = self._resting and self.failure is None and not self.writer.failed
        self._resting = False

    def close(self) -> None:
        """Record nothing more; what is half said is dropped."""
        self.active = self._resting = False
        self.frame.discard()

    def fail(self, error: BaseException) -> None:
        """Something in the recorder went wrong: say so once, stop recording, let the training go on."""
        if not self.active:
            return
        self.active = False
        reason = error.__cause__ or error
        self.failure = f"{type(reason).__name__}: {reason}"
        if not self.writer.failed:
            self._report(f"recording stopped, the training goes on: {self.failure}")
