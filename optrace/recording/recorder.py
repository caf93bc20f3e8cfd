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

import torch

from optrace.recording.compiled import Compiled, compilable
from optrace.recording.gate import Gate, slots
from optrace.recording.options import Options
from optrace.recording.pace import Pace
from optrace.recording.placements import whole_number
from optrace.recording.registry import Registry, Tracked, TrackedOptimizer
from optrace.recording.sites import CallSites
from optrace.recording.turns import Turns
from optrace.recording.unseen import unseen
from optrace.recording.watch import Change, Frame, Watch
from optrace.trace.format import KIND_CODES, RECORD, Flag, Op
from optrace.trace.writer import MOST_ROWS, TraceWriter

_pack = RECORD.pack_into
_now = time.perf_counter_ns
_thread = threading.get_ident
_ref = weakref.ref
_CODE = KIND_CODES
_RECORD = RECORD.size
_NAN = float("nan")
_LOSS, _EXACT, _FAILED = int(Flag.LOSS), int(Flag.EXACT), int(Flag.FAILED)
_DETAIL, _BY_HAND, _KEYFRAME = int(Flag.DETAIL), int(Flag.BY_HAND), int(Flag.KEYFRAME)


class Scope:
    """A recorded call that is running."""

    recorded = True  # False: it falls into a gap
    flags = 0
    groups = -1
    loss: Any = None  # a float, or a tensor to be read later
    root = 0  # id() of what backward was called on
    nested = 0  # calls of the same kind on the same object inside this one
    frame_id: tuple[int, int] | None = None  # of torch's step wrapper, to notice that it raised
    entry: TrackedOptimizer | None = None
    detail: dict[str, Any] | None = None
    sentinel: _Sentinel | None = None

    def __init__(self, kind: str, target: object, chain: int, start: int) -> None:
        self.kind = kind
        self.target = target
        self.chain = chain
        self.start = start


class _Sentinel:
    """Held by a loss graph's metadata alone: alive exactly as long as the graph is."""

    __slots__ = ("__weakref__", "event")

    def __init__(self) -> None:
        self.event = -1  # of the first backward through the graph


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
        self.registry.next_event = lambda: self.events
        self.registry.on_track = self._select
        self._options = options
        self.frame = Frame(writer)
        self.watch = Watch(self.registry)
        self.events = 0
        self.turns = Turns()
        self.failure: str | None = None
        self.scaling = False  # a GradScaler has scaled something
        self._report = report
        self._began = _now()
        self.any_step = False
        self._scopes: dict[int, list[Scope]] = {}
        self._threads: dict[int, int] = {}
        self._live: set[weakref.ref[_Sentinel]] = set()
        self._forget = self._live.discard
        self._walked: dict[int, int] = {}
        self.compiled = Compiled(self.say)
        self._stepping = 0  # the thread that stepped last
        self._stepped_in: set[int] = set()
        self._told: list[str] = []
        self._unreadable: set[str] = set()  # reasons that were told
        self._last_chain = -1
        self._met = 0  # optimizers whose state has been looked at
        self._restating = False
        self.pace = Pace(options, writer, self.frame, self._sizes)
        self.gate = Gate(self, self.pace)

    # Scopes

    def scopes(self) -> list[Scope]:
        """The recorded calls that are running on this thread, outermost first."""
        thread = threading.get_ident()
        stack = self._scopes.get(thread)
        if stack is None:
            stack = self._scopes[thread] = self._adopt(thread)
        return stack

    def _adopt(self, thread: int) -> list[Scope]:
        """Autograd's own threads work for the one thread that is running a backward."""
        if thread not in threading._active:  # type: ignore[attr-defined]
            running = [s for s in self._scopes.values() if any(scope.kind == "backward" for scope in s)]
            if len(running) == 1:
                return running[0]
        return []

    @unseen
    def begin(self, kind: str, target: object, frame: FrameType, deep: bool = True) -> Scope:
        """A recorded call starts. `deep` looks for gradients that changed and left no other trace."""
        self.keep_pace()
        return self.start(kind, target, frame, deep)

    def keep_pace(self) -> None:
        """Wait where the writer is far behind. Holding no lock: it needs that to catch up."""
        if len(self.writer.rows) > MOST_ROWS:
            self.writer.wait_for_rows()

    def start(self, kind: str, target: object, frame: FrameType, deep: bool = True) -> Scope:
        """`begin`, for a caller that is unseen itself."""
        start = _now()
        with self.lock:
            chain = self.sites.chain(frame)
            stack = self._scopes.get(_thread())
            if stack is None:
                stack = self.scopes()
            elif stack and stack[-1].frame_id:
                self._drop_stale(stack, frame)
            scope = Scope(kind, target, chain, start)
            if self.pace.selective and self.gate.closed(stack, kind, chain, target, frame):
                scope.recorded = False
                stack.append(scope)
                return scope
            if self.registry.dirty:
                self.registry.refresh(frame)
                self._meet_optimizers()
            self._notice(stack, chain, deep or self._restating)
            if self._restating:
                self._restate()
            stack.append(scope)
            return scope

    def end(self, scope: Scope, changes: list[Change], optimizer: int = -1, failed: bool = False) -> None:
        """A recorded call is over: write its event. The lock is held, the changes were looked up by the caller."""
        stack = self._scopes.get(_thread())
        if stack is None:
            stack = self.scopes()
        while stack and stack.pop() is not scope:
            pass
        if not scope.recorded or self.gate.shut:
            self._count(scope)
            return
        if changes:
            self.frame.add(changes)
        if failed:
            scope.flags |= _FAILED
        self._emit(scope, len(stack), optimizer)

    def skip(self, scope: Scope) -> None:
        """A call that falls into a gap is over."""
        with self.lock:
            self.end(scope, [])

    def running(self, kind: str, target: object | None = None) -> Scope | None:
        """The innermost running call of a kind (on an object) on this thread."""
        stack = self._scopes.get(_thread())
        if not stack:
            if stack is None:
                stack = self.scopes()
            if not stack:
                return None
        for scope in stack[::-1]:
            if scope.kind == kind and (target is None or scope.target is target):
                return scope
        return None

    def cancel(self, scope: Scope) -> None:
        """The call turned out to be no event."""
        stack = self.scopes()
        if scope in stack:
            stack.remove(scope)

    @unseen
    def abandon(self) -> None:
        """At the end of the recording: calls that never came back are events that failed."""
        with self.lock:
            for stack in list(self._scopes.values()):
                while stack:
                    self._close_stale(stack)
            if self.gate.shut:
                self.gate.finish()
            elif self.events:  # what was done by hand after the last event
                self._notice([], self._last_chain, deep=True)

    def _drop_stale(self, stack: list[Scope], frame: FrameType) -> None:
        """A step that raised has no post hook: it is over when its frame is no longer running."""
        running: set[tuple[int, int]] = set()
        walk = frame.f_back
        while walk is not None:
            running.add(frame_id(walk))
            walk = walk.f_back
        while stack and stack[-1].frame_id and stack[-1].frame_id not in running:
            self._close_stale(stack)

    def _close_stale(self, stack: list[Scope]) -> None:
        scope = stack[-1]
        if not scope.recorded:
            self.end(scope, [])
            return
        entry = scope.entry
        changes = self.watch.parameters(self.registry.tracked) + self.watch.gradients(
            self.registry.tracked, deposit=scope.kind == "backward", deep=False
        )
        self.end(scope, changes, entry.id if entry is not None else -1, failed=True)

    # Noticing

    def tracked(self) -> list[Tracked]:
        """The parameters this thread answers for: all, but for those another thread is training."""
        if len(self._scopes) <= 1:
            return self.registry.tracked
        mine = threading.get_ident()
        busy = {thread for thread, stack in self._scopes.items() if stack and thread != mine}
        if not busy or self.scopes() is not self._scopes.get(mine):
            return self.registry.tracked
        if any(self._scopes[thread] is self._scopes[mine] for thread in busy):
            return self.registry.tracked
        return [t for t in self.registry.tracked if t.thread not in busy]

    def trained_here(self, entry: TrackedOptimizer) -> None:
        """This thread trains the optimizer's parameters: another must not look at them while it does."""
        mine = _thread()
        if entry.thread != mine or len(self._scopes) > 1:
            entry.thread = mine
            for tracked in entry.plan:
                tracked.thread = mine

    def _notice(self, stack: list[Scope], chain: int, deep: bool) -> None:
        """Find what changed since the last event, and say who did it."""
        tracked = self.tracked()
        watch = self.watch
        inside = stack[-1].kind if stack else ""
        changes = [] if watch.untouched(tracked) else watch.parameters(tracked)
        changes += watch.gradients(tracked, inside == "backward", deep, self.frame if inside else None)
        if not changes:
            return
        if stack:
            self.frame.add(changes, before=True)
            return
        if self.compiled.stepped:
            changes = self._compiled_steps(changes, chain)
        cleared = [c for c in changes if c[1] == Op.CLEAR or c[1] == Op.ZERO]
        altered = [c for c in changes if c[1] == Op.CHANGE]
        if altered:  # first, for whoever trains by hand uses the gradients and then clears them
            self.frame.add(altered)
            self._by_hand("mutation", chain)
            if not self.any_step and any(slot.kind == "param" for slot, _ in altered):
                self.turns.stepped = True  # a loop that trains by hand comes round like any other
        if cleared:
            self.frame.add(cleared)
            self._by_hand("zero_grad", chain)
        first = [c for c in changes if c[1] == Op.INIT]
        if first:
            self.frame.add(first, before=True)

    def _compiled_steps(self, changes: list[Change], chain: int) -> list[Change]:
        """Steps that ran in compiled code since the last event, as events; the changes that they do not explain."""
        replayed = self.compiled.replayed
        self.compiled.stepped = self.compiled.replayed = False
        for entry in self.registry.optimizers:
            optimizer = entry.ref()
            held = {t.id for t in entry.plan}
            mine = [c for c in changes if c[1] == Op.CHANGE and c[0].parameter in held]
            moved = [c for c in mine if c[0].kind == "param"]
            if optimizer is None or not moved or not (replayed or compilable(optimizer)):
                continue
            changes = [c for c in changes if c not in mine]
            self.frame.add([c for c in mine if c not in moved], before=True)  # the gradients, clipped perhaps
            scope = Scope("step", optimizer, chain, _now())
            scope.flags = int(Flag.BY_HAND)
            scope.groups = self.registry.groups_version(entry, optimizer)
            self.frame.add(moved + self.watch.state(entry, optimizer, deep=True, aliases=[]))
            entry.steps += 1
            self._emit(scope, 0, entry.id)
        return changes

    def _meet_optimizers(self) -> None:
        """State that new optimizers came with: made by their constructor, or before the recording."""
        for entry in self.registry.optimizers[self._met :]:
            optimizer = entry.ref()
            changes = [] if optimizer is None else self.watch.state(entry, optimizer, deep=False, aliases=[])
            if changes:
                self.frame.add(changes, before=True)
        self._met = len(self.registry.optimizers)

    def _by_hand(self, kind: str, chain: int) -> None:
        scope = Scope(kind, None, chain, _now())
        scope.flags = int(Flag.BY_HAND)
        if self._last_chain >= 0:
            scope.detail = {"after_stack": self._last_chain}
        self._emit(scope, 0, -1)

    # Backward

    def loss_graph(self, scope: Scope, roots: list[torch.Tensor], frame: FrameType) -> None:
        """Before a backward: leaves nobody knows yet, and a sentinel in the loss's graph."""
        functions = [root.grad_fn for root in roots if root.grad_fn is not None]
        count = self._walked.get(scope.chain, 0) + 1
        self._walked[scope.chain] = count
        if count & (count - 1) == 0:
            self._find_leaves(functions, roots, frame)
        if functions:
            metadata: dict[str, Any] = _unwrapped(functions[0]).metadata
            sentinel = metadata.get("optrace")
            if sentinel is None:
                sentinel = metadata["optrace"] = _Sentinel()
                self._live.add(_ref(sentinel, self._forget))
            elif sentinel.event >= 0:
                scope.detail = {**(scope.detail or {}), "same_graph_as": sentinel.event}
            scope.sentinel = sentinel

    def _find_leaves(self, functions: list[Any], roots: list[torch.Tensor], frame: FrameType) -> None:
        """Walk the graph for leaf tensors that no module and no optimizer has."""
        leaves = {id(root): root for root in roots if root.is_leaf and root.requires_grad}
        seen: set[Any] = set()
        todo = list(functions)
        while todo:
            function = todo.pop()
            if function is None or function in seen:
                continue
            seen.add(function)
            leaf = getattr(function, "variable", None)
            if isinstance(leaf, torch.Tensor) and leaf.is_leaf:
                leaves[id(leaf)] = leaf
            todo += [following for following, _ in function.next_functions]
        unknown = self.registry.unknown(leaves.values())
        if unknown:
            self.registry.add_bare(unknown, frame, "leaf")  # or admit the models that own them
            self._notice(self.scopes()[:-1], -1, deep=True)

    def modes(self) -> dict[str, bool] | None:
        """Root modules whose training mode is another than at the last backward."""
        changed: dict[str, bool] | None = None
        for model in self.registry.models:
            module = model.ref()
            if module is not None and module.training is not model.training:
                model.training = module.training
                changed = changed or {}
                changed[str(model.id)] = module.training
        return changed

    # Gaps and keyframes

    def notice(self, chain: int) -> None:
        """Find what was done by hand since the last event."""
        self._notice([], chain, deep=True)

    def look_afresh(self, frame: FrameType) -> None:
        """After a gap: read every value, as if for the first time."""
        self.registry.refresh(frame)
        self.watch.restart()
        tracked = self.registry.tracked
        changes = self.watch.parameters(tracked) + self.watch.gradients(tracked, deposit=False, deep=True)
        for entry in self.registry.optimizers:
            optimizer = entry.ref()
            if optimizer is not None:
                self.registry.optimizer(optimizer, frame)
                changes += self.watch.state(entry, optimizer, deep=True, aliases=[])
        self._met = len(self.registry.optimizers)
        self._restating = False
        self.frame.add(changes, before=True)

    def gap(self, place: tuple[int, int], since: int, detail: dict[str, Any]) -> None:
        """Write the event that stands for what was not recorded from `place` on."""
        turns = self.turns
        now = turns.iteration, turns.index
        turns.iteration, turns.index = place
        scope = Scope("gap", None, -1, since)
        scope.detail = detail
        self._emit(scope, 0, -1)
        turns.iteration, turns.index = now

    def turned(self) -> None:
        """A recorded iteration begins."""
        self.frame.keyframe = self._restating = self.pace.turn(self.turns.iteration, self.events)

    def _restate(self) -> None:
        """A keyframe begins: all values once more, whole."""
        self._restating = False
        changes, found = self.watch.current(self.tracked())
        self.frame.add(changes + [(slot, int(Op.RESTATED)) for slot in found], before=True)

    def _select(self, tracked: Tracked) -> None:
        """Of a parameter that was not chosen everything is kept but its values."""
        if not self._options.keeps(tracked.name):
            self.frame.unselected.add(tracked.id)

    @property
    def chosen(self) -> bool:
        """Whether the values of any parameter were kept; True where there were none."""
        return not self.registry.count or len(self.frame.unselected) < self.registry.count

    def _sizes(self) -> int:
        """Bytes of all values that would be sampled."""
        return sum(
            slot.form.nbytes
            for tracked in self.registry.tracked
            for slot in slots(tracked)
            if slot.form is not None and slot.content is not None and slot.form.nbytes > self.frame.small
        )

    def _count(self, scope: Scope) -> None:
        """A call that is not recorded counts for the iterations all the same."""
        turns, target = self.turns, scope.target
        turns.passes((scope.kind, scope.chain), 0 if target is None else id(target))
        if scope.kind == "step":
            turns.stepped = self.any_step = True
        turns.index += 1
        self.gate.count()

    # Writing

    def _emit(self, scope: Scope, depth: int, optimizer: int) -> None:
        kind = scope.kind
        turns = self.turns
        if scope.chain >= 0 and not scope.flags & _BY_HAND:  # nobody called it, so it says nothing of the loop
            target = scope.target
            turn = turns.iteration
            turns.passes((kind, scope.chain), 0 if target is None else id(target))
            if turn != turns.iteration:
                self.turned()
            self._last_chain = scope.chain
        if kind == "step":
            turns.stepped = self.any_step = True
            if _thread() != self._stepping:
                self._another_thread()
        frame = self.frame
        number = self.events
        flags = scope.flags
        loss = scope.loss
        late: torch.Tensor | None = None
        if loss is None:
            loss = _NAN
        else:
            flags |= _LOSS
            if type(loss) is not float:
                late, loss = loss, _NAN
        detail = scope.detail
        if detail is not None:
            flags |= _DETAIL
            self.writer.detail(number, detail)
        effect = frame.effect(number)
        if not frame.reduced:
            flags |= _EXACT
        else:
            frame.reduced = False
            self.pace.reduced(turns.iteration, number)
        if frame.keyframe:
            flags |= _KEYFRAME
        thread = self._threads.get(_thread())
        if thread is None:
            thread = self._thread()
        events = self.writer.events
        block = events.block
        place = block.used
        if place + _RECORD > events.block_size:
            block, place = events.next_block(), 0
        end = _now()
        _pack(
            block.data,
            place,
            _CODE[kind],
            depth if depth < 255 else 255,
            flags,
            thread,
            turns.iteration,
            turns.index,
            end - self._began,
            (end - scope.start) * 1e-9,
            scope.chain,
            optimizer,
            scope.groups,
            effect,
            frame.start,
            loss,
            len(self._live),
        )
        if late is not None:
            self.writer.late_loss(block.data, place, late)
        block.used = place + _RECORD
        events.size += _RECORD
        turns.index += 1
        self.events = number + 1
        if self.writer.appended > self.pace.look_at:
            self.pace.look(turns.iteration, number + 1)
        if scope.sentinel is not None and scope.sentinel.event < 0:
            scope.sentinel.event = number
        if self.writer.failed:
            self.active = False
        if self.watch.unreadable:
            self._tell_unreadable()

    def _another_thread(self) -> None:
        """Another thread steps than the last time: two that train at once take turns in this."""
        mine = self._stepping = _thread()
        if mine in self._stepped_in:
            self.say("several threads train at once: their turns are counted together, as one loop's")
        self._stepped_in.add(mine)

    def _thread(self) -> int:
        number = self._threads[threading.get_ident()] = len(self._threads)
        name = threading.current_thread().name.encode("utf-8", "replace").decode("utf-8")
        self.writer.row("INSERT INTO thread VALUES (?, ?)", number, name)
        return number

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
        """Record nothing until `resume`: a CUDA graph is being captured."""
        self._resting, self.active = self.active, False

    def resume(self) -> None:
        """Go on, unless the recording has ended meanwhile."""
        self.active = self._resting and self.failure is None and not self.writer.failed
        self._resting = False

    def fail(self, error: BaseException) -> None:
        """Something in the recorder went wrong: say so once, stop recording, let the training go on."""
        if not self.active:
            return
        self.active = False
        reason = error.__cause__ or error
        self.failure = f"{type(reason).__name__}: {reason}"
        if not self.writer.failed:
            self._report(f"recording stopped, the training goes on: {self.failure}")


_WRAPPING = frozenset({"MulBackward0", "DivBackward0", "NegBackward0"})


def _unwrapped(function: Any) -> Any:
    """The node of the loss itself, below what only scales it: `loss / 8`, `scaler.scale(loss)`.

    The wrapper's node goes with the expression it stood in; the loss's own lives as long as its graph.
    """
    while function.name() in _WRAPPING:
        inputs = [following for following, _ in function.next_functions if following is not None]
        if len(inputs) != 1 or hasattr(inputs[0], "variable"):
            break
        (function,) = inputs
    return function


def scalar_loss(roots: list[torch.Tensor]) -> Any:
    """The loss as a number; a tensor to be read later where reading now would wait for a device; None for none."""
    if len(roots) != 1:
        values = [scalar_loss([root]) for root in roots]
        return sum(values) if values and all(type(v) is float for v in values) else None
    root = whole_number(roots[0])
    if root is None or root.numel() != 1 or root.is_complex() or root.is_meta:
        return None
    if root.is_cpu:
        return float(root.item())
    with torch.no_grad():
        return root.detach().clone()


def frame_id(frame: FrameType) -> tuple[int, int]:
    """Tells a running frame from others. Another function's frame may take over the memory of one that ended."""
    return id(frame), id(frame.f_code)
