"""Reading a live tensor's bytes without disturbing it, and noticing when they change.

A plain CPU tensor is read in place, through its data pointer: no torch operation, no copy, no
autograd. Everything else (another device, not contiguous, conjugated, a subclass) goes through a
detached contiguous copy. Version counters alone prove nothing (fused steps and writes through
`.data` leave them), so content is compared: small tensors by their bytes, others by XXH3.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.parameter import is_lazy

from optrace.recording import devices
from optrace.recording.forms import HOLLOW, SMALL, SPARSE_DIMS, Form, digest

if TYPE_CHECKING:
    from optrace.recording.sampling import Sketch

UNKNOWN = -1  # a fingerprint that no content has
_VIEWS = 128  # addresses to remember of one value: the allocator goes round among a few dozen
COPIES = 64 << 20
"""Bytes of copies that are held at most, until they are written; what has no room is copied once more then."""
_PLAIN = (torch.Tensor, torch.nn.Parameter)
ON_META = "it is on the meta device and has no values"
_EMPTY = memoryview(b"")
_SCALARS = {bool: torch.bool, int: torch.int64, float: torch.float64}


class Known:
    """What a value on a device is known to have been, as far as what was sent for has come."""

    __slots__ = ("content", "form")

    def __init__(self, content: Any = None, form: Form | None = None) -> None:
        self.content = content
        self.form = form


Content = bytes | int | Known
"""A tensor's fingerprint: its bytes when few, else their 64-bit XXH3; of one that is sampled perhaps its `Sketch`'s."""


class Unreadable(Exception):
    """A tensor without bytes to read (meta, lazily initialised, of a layout unknown here)."""


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether the tensor's bytes stand in memory as its elements do, in row-major order."""
    return (
        type(tensor) in _PLAIN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_conj()
        and not tensor.is_quantized
    )


def view_at(pointer: int, nbytes: int) -> memoryview:
    """The memory at an address. Valid while the tensor that owns it is."""
    if nbytes == 0:
        return _EMPTY
    return memoryview((ctypes.c_ubyte * nbytes).from_address(pointer)).cast("B")


def version_of(tensor: torch.Tensor | None) -> int:
    """How often torch counted a write to it; -1 for an inference tensor, of which it keeps no count."""
    return -1 if tensor is None or tensor.is_inference() else tensor._version


def fingerprint(view: memoryview) -> Content:
    return view.tobytes() if view.nbytes <= SMALL else digest(view)


class Slot:
    """One value of one parameter (itself, its gradient, a state entry) as it was last seen.

    What is no plain tensor in this process's memory is seen as a copy, which lasts until it is written.
    """

    held: ClassVar[int] = 0
    """Bytes of all copies."""
    arrive: ClassVar[Callable[[], Callable[[], None] | None]] = staticmethod(lambda: None)
    """Gives what waits until everything that was sent for has come, while there is a recording."""

    __slots__ = (
        "absent",
        "arriving",
        "codes",
        "content",
        "facts",
        "form",
        "forms",
        "identity",
        "keep",
        "kind",
        "noting",
        "optimizer",
        "parameter",
        "pointer",
        "sketch",
        "small",
        "source",
        "version",
        "view",
        "views",
    )

    def __init__(self, parameter: int, kind: str, optimizer: int = -1) -> None:
        self.parameter = parameter
        self.kind = kind
        self.optimizer = optimizer
        self.content: Content | None = None  # None: absent
        self.form: Form | None = None
        self.pointer = -1  # of the memory `view` shows; -1 when it shows a copy
        self.view = _EMPTY
        self.views: dict[int, memoryview] = {}  # by address: a new gradient often lies where an old one did
        self.keep: Any = None  # what owns a copy's memory
        self.facts: Any = None  # by which a tensor on a device counts as unchanged
        self.source: weakref.ref[torch.Tensor] | None = None  # the tensor that was copied
        self.identity = 0  # id() of the tensor last seen
        self.version = -1
        self.small = True
        self.arriving = False  # it was written to, on a device, and is to be sent for
        self.noting = False  # and should its bytes be what they were, that is to be told
        self.sketch: Sketch | None = None  # once only a part of it is kept
        self.absent: dict[int, int] = {}  # interned changes that leave nothing, by operation
        self.codes: dict[int, int] = {}  # interned changes of this form
        self.forms: dict[Form | None, dict[int, int]] = {None: self.codes}

    def look(self, tensor: torch.Tensor, written: bool = False, changed: bool = False) -> bool:
        """Read the tensor; whether its content or form differs from what was last seen.

        `written`, `changed`: see `reread`.
        """
        form = self.form
        if form is None or form.odd or type(tensor) not in _PLAIN:
            return self._attach(tensor, written)
        try:
            pointer = tensor.data_ptr()
        except RuntimeError:  # it has no memory of its own: sparse, say
            return self._attach(tensor, written)
        if (
            tensor.dtype is not form.dtype
            or tensor.shape != form.shape
            or not (tensor.is_contiguous() and tensor.is_cpu)
            or tensor.is_neg()
            or not pointer
        ):
            return self._attach(tensor, written)
        moved = pointer != self.pointer
        if moved:
            if self.content.__class__ is Known:
                self._come_back()
            self.drop()
            self.view = self.view_at(pointer, form)
            self.pointer = pointer
        self.identity = id(tensor)
        if self.sketch is not None:
            return self.reread(tensor, moved or written, written and changed)
        content: Content = self.view.tobytes() if self.small else digest(self.view)
        if content == self.content:
            return False
        self.content = content
        return True

    def reread(self, tensor: torch.Tensor, written: bool = False, changed: bool = False) -> bool:
        """Read again the memory that was read last; whether its content differs.

        Of a tensor that is sampled: `written` says that it was written to, so that no trace of that need be looked
        for, and `changed` that it is not what it was, where statistics and sample are what they were.
        """
        sketch = self.sketch
        before = self.content
        if sketch is None:
            self.content = self.view.tobytes() if self.small else digest(self.view)
            return self.content != before
        version = version_of(tensor)
        if not written and before is not None and sketch.holds(self.view, version):
            return False
        differs = sketch.take(self.view, version)
        if differs and not sketch.blank:
            self.content = sketch.summary
            return True
        # What the summary does not tell: are all bytes zero, or what they were when they were last read in full?
        content = self.content = digest(self.view)
        if differs or before is None:
            return True
        return content != before if type(before) is int else changed

    def look_hollow(self, tensor: torch.Tensor) -> bool:
        """The tensor cannot be read: whether it is another, or was written to, since it was last seen."""
        form = Form.of(tensor.dtype, tuple(tensor.shape), tensor.numel() * tensor.element_size(), HOLLOW)
        content = hash((id(tensor), -1 if tensor.is_inference() else tensor._version))
        changed = content != self.content or form is not self.form
        self.drop()
        self.identity, self.pointer, self.view, self.sketch, self.source = id(tensor), -1, _EMPTY, None, None
        self._take_form(form)
        self.small, self.content = False, content
        return changed

    def _take_form(self, form: Form) -> None:
        if form is not self.form:
            self.form = form
            self.small = form.nbytes <= SMALL
            self.views = {}
            self.codes = self.forms.setdefault(form, {})

    def forget(self) -> None:
        """The value is gone."""
        self.content = None
        self.identity = 0
        self.version = -1
        self.drop()
        self.pointer = -1
        self.view = _EMPTY
        self.source = None
        self.arriving = False

    def distrust(self) -> None:
        """Nothing but reading all of it says that it is what it was."""
        self.facts = None
        if self.sketch is not None:
            self.sketch.distrust()

    def drop(self) -> None:
        """The copy is not needed any more."""
        if self.keep is not None:
            Slot.held -= self.view.nbytes
            self.keep, self.view = None, _EMPTY

    def shown(self) -> memoryview | None:
        """The bytes of the value as it was last seen, copied once more if need be; None if that cannot be done."""
        if self.pointer == -1 and self.keep is None and self.source is not None:
            tensor = self.source()
            if tensor is None:
                return None
            _, self.view, self.keep, _ = read(tensor)
            Slot.held += self.view.nbytes
        return self.view

    def view_at(self, pointer: int, form: Form) -> memoryview:
        """The memory at an address, where a value of this form lies."""
        view = self.views.get(pointer)
        if view is None:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            view = self.views[pointer] = memoryview(form.array.from_address(pointer)).cast("B")
        return view

    def must_read(self, tensor: torch.Tensor, written: bool) -> bool:
        """Whether a tensor on a device may be another than it was, as far as can be told without waiting for it."""
        if written or self.content is None or self.facts is None or self.source is None:
            return True
        return self.source() is not tensor or devices.facts_of(tensor) != self.facts

    def _attach(self, tensor: torch.Tensor, written: bool) -> bool:
        facts = None
        if devices.is_remote(tensor):
            if not self.must_read(tensor, written):
                return False
            facts = devices.facts_of(tensor)
            if facts is not None and can_be_sent(tensor):
                self._expect(tensor, facts)
                return True
        if self.content.__class__ is Known:
            self._come_back()
        pointer, view, keep, form = read(tensor)
        content = fingerprint(view)
        changed = content != self.content or form is not self.form
        self.drop()
        self.identity = id(tensor)
        self.pointer, self.sketch = pointer, None
        self.view = view if pointer != -1 else _EMPTY
        self._take_form(form)
        self.content = content
        self.source, self.facts = None if keep is None else weakref.ref(tensor), facts
        if changed and keep is not None and Slot.held + view.nbytes <= COPIES:
            Slot.held += view.nbytes
            self.view, self.keep = view, keep
        return changed

    def _expect(self, tensor: torch.Tensor, facts: Any) -> None:
        """It may have changed: what it is now will come."""
        if not isinstance(self.content, Known):
            self.content = Known(self.content, self.form)
        self.drop()
        self.identity, self.pointer, self.view, self.sketch = id(tensor), -1, _EMPTY, None
        self._take_form(Form.of(tensor.dtype, tuple(tensor.shape), tensor.numel() * tensor.element_size()))
        self.source, self.facts, self.arriving, self.noting = weakref.ref(tensor), facts, True, False

    def _come_back(self) -> None:
        """It is in this process's memory again."""
        arrive = Slot.arrive()
        if arrive is not None:
            arrive()
        known = self.content
        assert isinstance(known, Known)
        self.content = UNKNOWN if known.content is None or known.form is not self.form else known.content


def can_be_sent(tensor: torch.Tensor) -> bool:
    """Whether its bytes can be fetched from its device without waiting."""
    return (
        type(tensor) in _PLAIN
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not is_lazy(tensor)
        and tensor.numel() > 0
        and devices.lane_of(tensor.device) is not None
    )


def read(tensor: torch.Tensor) -> tuple[int, memoryview, Any, Form]:
    """Its address (-1 for a copy), bytes, what owns them, and form. Raises `Unreadable`."""
    if is_plain(tensor):
        pointer = tensor.data_ptr()
        form = Form.of(tensor.dtype, tuple(tensor.shape), tensor.numel() * tensor.element_size())
        if pointer == 0 and form.nbytes:
            raise Unreadable("no memory behind it")
        return pointer, view_at(pointer, form.nbytes), None, form
    return _read_copy(tensor)


def _read_copy(tensor: torch.Tensor) -> tuple[int, memoryview, Any, Form]:
    if is_lazy(tensor):
        raise Unreadable("not initialised")
    if tensor.is_meta:
        raise Unreadable(ON_META)
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        shape = tuple(tensor.shape)
        if tensor.layout is torch.sparse_coo and tensor.sparse_dim():
            source = tensor.detach()
            parts = [source._indices(), source._values()]
        elif tensor.layout is torch.strided and not tensor.is_quantized:
            parts = [tensor.detach().resolve_conj().resolve_neg()]
        else:
            raise Unreadable(f"its layout is {tensor.layout}")
        copies = [part.cpu().contiguous() for part in parts]
    if len(copies) == 1:
        (copy,) = copies
        if type(copy) is not torch.Tensor or not is_plain(copy):
            raise Unreadable(f"it is a {type(tensor).__name__}")
        form = Form.of(copy.dtype, shape, copy.numel() * copy.element_size())
        return -1, view_at(copy.data_ptr(), form.nbytes), copy, form
    views = [view_at(c.data_ptr(), c.numel() * c.element_size()) for c in copies]
    data = b"".join([SPARSE_DIMS.pack(source.sparse_dim()), *views])
    form = Form.of(copies[1].dtype, shape, len(data), source.sparse_dim())
    return -1, memoryview(data), data, form


def scalar(value: Any) -> torch.Tensor | None:
    """A Python number as a 0-dim tensor (float64, int64 or bool), None for anything else."""
    dtype = _SCALARS.get(type(value))
    if dtype is None or (dtype is torch.int64 and not -(1 << 63) <= value < 1 << 63):
        return None
    with torch.no_grad():
        return torch.tensor(value, dtype=dtype, device="cpu")
