"""Who came when, without what they sent: what `demitasse plan` replays.

On a request's way one tuple is put on a list; once a second a thread appends the
list to a file. A file is a head and records of one size, one file per process
until it is full, so that a process that is killed spoils nothing but its last
record. The oldest files make room. `ticket` and `seats` note arrivals, `app` opens
and closes this, and the command line reads it; it knows neither requests nor answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import struct
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wire.flows import Flow

log = logging.getLogger("demitasse.coordinator.arrivals")

WRITE_SECONDS = 1.0
#: What waits for a disk that does not answer; past it, the latest are not recorded.
MAX_WAITING = 100_000
#: Of what is kept, so many files: the oldest is forgotten as a whole.
_FILES = 16
_SWEEP_EVERY = 60  # times that it is looked whether there is something to write
_SUFFIX = ".arrivals"
_HEAD = b"demitasse arrivals 1\n".ljust(32, b"\0")
#: Little-endian, without gaps; see docs/operating.md.
RECORD = np.dtype(
    [
        ("at", "<f8"),  # seconds since 1970
        ("model", "<u8"),
        ("caller", "<u8"),
        ("version", "<u4"),
        ("size_bytes", "<u4"),  # 0 where it was refused before that was known
        ("weight", "<f4"),
        ("timeout_seconds", "<f4"),
        ("rank", "u1"),
        ("refused", "u1"),
        ("reserved", "<u2"),
    ]
)
_PACK = struct.Struct("<dQQIIffBBxx").pack
_MOST_BYTES = 2**32 - 1

Records = np.ndarray[Any, np.dtype[np.void]]


class Lane(NamedTuple):
    """The numbers that stand for a version of a model."""

    model: int
    version: int


def arrivals_folder(home: Path) -> Path:
    return home / "arrivals"


@lru_cache(maxsize=1024)
def lane_of(model: str, version: str) -> Lane:
    return Lane(_number(model, 8), _number(version, 4))


class Note(NamedTuple):
    """One example that came to a lane."""

    at: float
    """On the monotonic clock, as is the deadline."""
    lane: Lane
    flow: Flow
    deadline: float
    size_bytes: int = 0
    """Of its inputs; 0 where it was refused before they had come."""
    refused: bool = False


def refused(model: str, version: str, flow: Flow, deadline: float | None) -> Note:
    """Of an example that found no room just now."""
    by = math.inf if deadline is None else deadline
    return Note(time.monotonic(), lane_of(model, version), flow, by, refused=True)


def forget(note: Note) -> None:
    """Takes down nothing."""


class Arrivals:
    """The notes of one process, on their way into files."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_seconds: float) -> None:
        """
        Args:
            max_bytes: of all files in the folder, those of other processes included; 0:
                nothing is recorded, and what was is deleted.
        """
        self.lost = 0
        """How many were not recorded, since the disk could not take them."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._notes: list[Note] = []
        self.note: Callable[[Note], object] = self._notes.append if max_bytes else forget
        """Takes one down. Never waits."""
        self._file: Path | None = None
        self._failing = False

    @property
    def waiting(self) -> int:
        """How many were noted, and are not on their way into a file."""
        return len(self._notes)

    async def follow(self) -> None:
        """Writes once a second, for ever."""
        writing: asyncio.Task[None] | None = None
        for turn in itertools.count():
            sweeping = turn % _SWEEP_EVERY == 0
            if writing is None or writing.done():
                if self._notes or sweeping:
                    work = asyncio.to_thread(self.write, self._taken(), sweeping=sweeping)
                    writing = asyncio.create_task(work)
            elif len(self._notes) > MAX_WAITING:
                self._lose(len(self._taken()))
            await asyncio.sleep(WRITE_SECONDS)

    def close(self) -> None:
        """Writes what is left."""
        self.write(self._taken())

    def _taken(self) -> list[Note]:
        notes = self._notes.copy()
        self._notes.clear()  # the same list stays: `note` is its method
        return notes

    def write(self, notes: list[Note], *, sweeping: bool = False) -> None:
        """Appends these to a file. A disk that is full or gone costs the notes, and no more."""
        try:
            if sweeping:
                sweep(self._folder, self._max_bytes, self._max_age_seconds)
            if notes:
                self._append(packed(notes))
            self._failing = False
        except OSError as error:
            self._file = None  # which may end within a record
            self._lose(len(notes), error)

    def _append(self, records: bytes) -> None:
        file = self._file
        if file is None or not file.exists():  # it may have made room for others
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._file = self._folder / f"{time.time_ns()}-{os.getpid()}{_SUFFIX}"
            records = _HEAD + records
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as stream:
            stream.write(records)
            size = stream.tell()
        if size >= self._max_bytes // _FILES:
            self._file = None
            sweep(self._folder, self._max_bytes, self._max_age_seconds)

    def _lose(self, count: int, error: OSError | None = None) -> None:
        self.lost += count
        if not self._failing:
            self._failing = True
            log.warning("arrivals are not recorded: %s", error or "the disk does not answer")


def packed(notes: list[Note]) -> bytes:
    """As records, with the time of day."""
    offset = time.time() - time.monotonic()
    return b"".join(
        [
            _PACK(
                at + offset,
                lane.model,
                flow.caller,
                lane.version,
                min(size, _MOST_BYTES),
                flow.weight,
                deadline - at,
                flow.rank,
                refused,
            )
            for at, lane, flow, deadline, size, refused in notes
        ]
    )


def sweep(folder: Path, max_bytes: int, max_age_seconds: float) -> None:
    """Deletes what is too old, and the oldest of what is too much."""
    kept = 0
    oldest = time.time() - max_age_seconds
    for file in sorted(folder.glob(f"*{_SUFFIX}"), reverse=True):  # by when they were begun
        with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
            status = file.stat()
            kept += status.st_size
            if kept > max_bytes or status.st_mtime < oldest:
                file.unlink()


def read_arrivals(folder: Path, model: str, version: str | None, since: float) -> Records:
    """What was recorded of a model, of one version or of all.

    Args:
        since: in seconds since 1970.

    Returns:
        Records as `RECORD`, in the order of their times.
    """
    number = _number(model, 8)
    found = [np.empty(0, RECORD)]
    for records in _files(folder, since):
        wanted = (records["model"] == number) & (records["at"] >= since)
        if version is not None:
            wanted &= records["version"] == _number(version, 4)
        found.append(records[wanted])
    together: Records = np.concatenate(found)
    return together[np.argsort(together["at"], kind="stable")]


def _files(folder: Path, since: float) -> Iterator[Records]:
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            if file.stat().st_mtime < since:
                continue
            data = file.read_bytes()
        except FileNotFoundError:
            continue  # swept away meanwhile
        if data.startswith(_HEAD):
            whole = (len(data) - len(_HEAD)) // RECORD.itemsize
            yield np.frombuffer(data, RECORD, whole, len(_HEAD))


def _number(name: str, size: int) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=size).digest(), "little")
