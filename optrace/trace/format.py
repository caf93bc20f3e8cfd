"""The trace file: names, versions, the event record and the index's tables.

A trace is a folder. `events.bin` holds one fixed-size record per event, `tensors-0000.bin`
the tensors' bytes; both only ever grow. `index.sqlite` names everything in them and holds a
checksum of every piece of both; `index.xxh3` holds the index's own, once the recording has ended.
Pieces are written first and named by a committed row after, so what the index names is whole,
whatever happened to the process.

This module imports neither NumPy nor torch: it is loaded into the training process.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum, IntFlag

APPLICATION_ID = 0x6F707472  # "optr"
FORMAT_VERSION = 1
RING_VERSION = 2  # of a trace that keeps its last iterations: what came before them is let go
VERSIONS = (FORMAT_VERSION, RING_VERSION)

INDEX_FILE = "index.sqlite"
SEAL_FILE = "index.xxh3"  # the checksum of the index, from when the recording ended; 16 hexadecimal digits
EVENTS_FILE = "events.bin"
TENSORS_FILE = "tensors-0000.bin"
TENSORS_RANGE = ("tensors-", "tensors.")  # between which the names of all of them stand
BYTES_FILE = re.compile(r"events(-\d{4,12})?\.bin|tensors-\d{4,12}\.bin")
KEEP_FILE = "keep"  # put there by whoever wants the last iterations kept: JSON with the reason

# Facts in `meta` about a trace that keeps its last iterations.
RING = "ring"  # how many were asked for, the file of events, the number of its first event in the whole run
KEPT = "kept"  # why the recording was ended with what it held

KINDS = (
    "zero_grad",
    "backward",
    "step",
    "clip",
    "scheduler_step",
    "unscale",
    "scaler_update",
    "load_state",
    "mutation",
    "mark",
    "gap",  # iterations (or the rest of one) that were not recorded
)
KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}


def events_file(number: int) -> str:
    """The name of the file of events after so many times of letting go."""
    return EVENTS_FILE if number == 0 else f"events-{number:04d}.bin"


def tensors_file(number: int) -> str:
    """The name of the file of a chunk's tensors."""
    return f"tensors-{number:04d}.bin"


class Flag(IntFlag):
    """What else is true of an event."""

    LOSS = 1  # the record's loss field is a number that the loop computed
    FAILED = 2  # the call raised; what it had done by then is recorded
    SKIPPED = 4  # a step that a GradScaler left out
    BY_HAND = 8  # no call made this: it was noticed in the gradients or parameters
    DETAIL = 16  # the index holds a row of details
    SCALED = 32  # a backward of a loss that carries a GradScaler's scale
    SCALER = 128  # a step made by GradScaler.step
    EXACT = 64  # all values this event changed were stored in full
    KEYFRAME = 256  # past the budget, but all values are whole here


class Op(IntEnum):
    """What happened to one value (a parameter, gradient or state entry) in an event."""

    INIT = 0  # seen for the first time
    DEPOSIT = 1  # a backward put a contribution into the gradient
    CLEAR = 2  # the gradient became None
    ZERO = 3  # the gradient was filled with zeros in place
    CHANGE = 4  # its content changed in any other way
    GONE = 5  # a state entry no longer exists
    LOST = 6  # a gap begins: what it is from here on is not known until it is seen again
    RESTATED = 7  # as it was, stored once more: a keyframe begins


class Storage(IntEnum):
    """How the value after an operation is stored."""

    SAME = 0  # not stored: as it was before, or absent
    FULL = 1  # all its bytes
    ZEROS = 2  # not stored: every byte is zero
    SAMPLE = 3  # statistics and a fixed random sample of its elements; or the statistics alone
    SPARSE = 4  # COO: number of sparse dims (int64), int64 indices [dims, nnz], then values
    DROPPED = 5  # changed, but not stored: no room was left, or its parameter was not chosen


# The event record, little-endian, 64 bytes. Fields in order; `RECORD_FIELDS` gives the NumPy types.
RECORD = struct.Struct("<BBHIIIqfiiiiqdI")
RECORD_FIELDS = [
    ("kind", "<u1"),
    ("depth", "<u1"),  # how many recorded calls enclose this one
    ("flags", "<u2"),
    ("thread", "<u4"),
    ("iteration", "<u4"),
    ("index", "<u4"),  # place within the iteration
    ("time", "<i8"),  # nanoseconds since the recording began, at the event's end
    ("duration", "<f4"),  # seconds the call took, recording included
    ("stack", "<i4"),  # chain of call sites, -1 for none
    ("optimizer", "<i4"),  # -1 for none
    ("groups", "<i4"),  # version of the optimizer's param groups at this event, -1 for none
    ("effect", "<i4"),  # what changed, -1 for nothing
    ("offset", "<i8"),  # of this event's bytes among the tensors
    ("loss", "<f8"),
    ("live_graphs", "<u4"),  # loss graphs still alive after a backward
]
assert RECORD.size == 64
EFFECT, EFFECT_AT = struct.Struct("<i"), struct.calcsize("<BBHIIIqfiii")  # and where it stands

# One sampled value: these statistics as float64, then its sampled elements.
STATISTICS = ("norm", "mean", "min", "max", "zeros", "nonfinite")
ONE_PASS = ("norm", "nonfinite")  # those that are always taken; where the count of zeros is nan, no others were
SMALL = 1024  # bytes up to which a value is kept whole even where others are sampled
ALIGNMENT = 8  # every stored tensor starts at a multiple of this many bytes

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);            -- value: JSON
CREATE TABLE parameter (id INTEGER PRIMARY KEY, name TEXT, shape TEXT, dtype TEXT, device TEXT,
                        requires_grad INTEGER, bare INTEGER, first_event INTEGER);
CREATE TABLE placement (parameter INTEGER PRIMARY KEY, value TEXT);            -- JSON: of what spreads over processes
CREATE TABLE binding (id INTEGER PRIMARY KEY, parameter INTEGER, name TEXT, model INTEGER, event INTEGER);
CREATE TABLE model (id INTEGER PRIMARY KEY, class TEXT, variable TEXT, event INTEGER, stack INTEGER);
CREATE TABLE optimizer (id INTEGER PRIMARY KEY, name TEXT, class TEXT, variable TEXT, event INTEGER, stack INTEGER);
CREATE TABLE members (id INTEGER PRIMARY KEY, parameters TEXT);                -- JSON list of parameter ids
CREATE TABLE groups (id INTEGER PRIMARY KEY, optimizer INTEGER, value TEXT);   -- JSON list of members and hyper
CREATE TABLE source (file TEXT PRIMARY KEY, text TEXT);
CREATE TABLE site (id INTEGER PRIMARY KEY, file TEXT, line INTEGER, function TEXT);
CREATE TABLE stack (id INTEGER PRIMARY KEY, site INTEGER, sites TEXT);         -- JSON, innermost first
CREATE TABLE effect (id INTEGER PRIMARY KEY, first_event INTEGER, entries TEXT); -- JSON list of entries
CREATE TABLE detail (event INTEGER PRIMARY KEY, value TEXT);                   -- JSON object
CREATE TABLE thread (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE sample (parameter INTEGER, numel INTEGER, indices BLOB, PRIMARY KEY (parameter, numel));
CREATE TABLE phase (event INTEGER PRIMARY KEY, iteration INTEGER, capture TEXT, every INTEGER, reason TEXT);
CREATE TABLE segment (file TEXT, offset INTEGER, length INTEGER, digest INTEGER, PRIMARY KEY (file, offset));
"""
