"""What became of requests, kept for a while so that each can be explained.

A record holds what its request left behind anyhow; it is made readable
in `explanations`, when somebody asks. Answers and refusals are kept apart: a
flood of the one does not push out the other. Only the event loop touches this.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

#: How long a record is kept at most; the oldest go earlier where bytes run out.
KEPT_SECONDS = 300.0
#: Of plain answers, as much of other answers, and of all else: some 13,000 of each.
MAX_BYTES = 8 * 2**20
#: What one takes: tuples, numbers and the id (measured, Python 3.11, 560 to 700).
RECORD_BYTES = 640
#: And each photo, and each model's part of one (measured likewise).
PHOTO_BYTES = 80
PART_BYTES = 320
_EMPTY_TEXT_BYTES = sys.getsizeof("")
#: In the place of a reason.
NOT_KNOWN = -1


class Part(msgspec.Struct, frozen=True, gc=False):
    """How one model's answer came about. Times are seconds."""

    name: str
    """Of the model, in the answer."""
    version: str
    source: str
    """`computed`, `cached`, `shared`, `pending` or the code of its error."""
    replica: str = ""
    batch_size: int = 0
    left: int = NOT_KNOWN
    """Why the batch left the queue when it did: a `Reason`."""
    decode: float = 0.0
    """Until the pixels were there, where this part's times are to show it."""
    queue: float = 0.0
    predict: float = 0.0
    link: float = 0.0
    lost: float = 0.0
    """In a first attempt, by a replica that was lost: this one."""
    lost_replica: str = ""
    waited: float = 0.0
    """For what was not computed for this request."""


class Photo(NamedTuple):
    """One photo of an answer."""

    name: str | None
    decode: float
    """Seconds until its pixels were there."""
    seconds: float
    """In all."""
    parts: Sequence[Part]


class Record(msgspec.Struct, frozen=True, gc=False):
    """What one request left behind. Instants are on the monotonic clock.

    Out of the garbage collector's sight, as nothing in it leads back to it.
    """

    id: str
    route: str
    model: str
    """As the path names it; empty where it names none."""
    status: int
    """0: it was not answered."""
    code: str
    started: float
    """When its head was there."""
    asked: float
    """When all of it was; 0: it never was."""
    ended: float
    part: Part | None = None
    """Of an answer of one model."""
    photos: Sequence[Photo] = ()
    problem: bytes = b""
    """Of a refusal its document, as it was sent."""
    reckoning: object = None
    """And what it was decided from."""
    decode: float = 0.0
    """And for how many seconds the image tier was waited for, where that is known."""


class _Shelf:
    """Records of one kind, the oldest first."""

    __slots__ = ("_bytes", "_max_bytes", "_records", "_sizes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records: deque[Record] = deque()
        self._sizes: deque[int] = deque()

    def add(self, record: Record, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            return  # for it alone, all others would have to go
        self._records.append(record)
        self._sizes.append(size_bytes)
        self._bytes += size_bytes
        while self._bytes > self._max_bytes:
            self._drop()

    def trim(self, before: float) -> None:
        while self._records and self._records[0].ended < before:
            self._drop()

    def find(self, id: str) -> list[Record]:
        return [record for record in self._records if record.id == id]

    def _drop(self) -> None:
        self._records.popleft()
        self._bytes -= self._sizes.popleft()


def _size_bytes(record: Record) -> int:
    """What a record holds, with what came from its caller: a path, a file's name, a problem."""
    size = RECORD_BYTES + len(record.problem) + _text_bytes(record.model)
    for photo in record.photos:
        size += PHOTO_BYTES + PART_BYTES * len(photo.parts) + _text_bytes(photo.name or "")
    return size


def _text_bytes(text: str) -> int:
    return sys.getsizeof(text) - _EMPTY_TEXT_BYTES


class Records:
    """The latest requests of one process."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """
        Args:
            max_bytes: of plain answers, of other answers, and of all else, each.
        """
        self._plain: deque[Record] = deque(maxlen=max_bytes // RECORD_BYTES)
        self._answers, self._others = _Shelf(max_bytes), _Shelf(max_bytes)
        self.add_plain = self._plain.append
        """Keeps the record of one model's answer. A call less: every plain request pays for it."""

    def add(self, record: Record) -> None:
        """Keeps any other record, unless it takes more than there is for all of its kind."""
        shelf = self._answers if record.status == 200 else self._others
        shelf.add(record, _size_bytes(record))

    def find(self, id: str, now: float) -> list[Record]:
        """Those of this id, by when they ended: callers may give the same one twice."""
        self.trim(now)
        plain = [record for record in self._plain if record.id == id]
        found = plain + self._answers.find(id) + self._others.find(id)
        return sorted(found, key=lambda record: record.ended)

    def trim(self, now: float) -> None:
        """Drops what is too old."""
        before = now - KEPT_SECONDS
        while self._plain and self._plain[0].ended < before:
            self._plain.popleft()
        self._answers.trim(before)
        self._others.trim(before)
