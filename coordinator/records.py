"""What became of requests, kept for a while so that each can be explained.

A record is a tuple of what its request left behind anyhow; it is made readable
in `explanations`, when somebody asks. Answers and refusals are kept apart: a
flood of the one does not push out the other. Only the event loop touches this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

#: How long a record is kept at most; the oldest go earlier where bytes run out.
KEPT_SECONDS = 300.0
#: Of plain answers, as much of other answers, and of all else: some 13,000 of each.
MAX_BYTES = 8 * 2**20
#: What one takes: tuples, numbers and the id (measured, Python 3.11, 560 to 700).
RECORD_BYTES = 640
#: And each model's part of a photo.
PART_BYTES = 320

Part = tuple[str, str, str, str, int, int, float, float, float, float, float]
"""How one model's answer came about: name in the answer, version, source, replica, batch size,
why the batch left (`wire.reasons`; -1: not known), and seconds: until the pixels were there, in
the queue, in `predict`, on the link, and waited for what was not computed for this request.

The source is `computed`, `cached`, `shared`, `pending` or the code of its error."""

Photo = tuple[str | None, float, float, Sequence[Part]]
"""One photo of several: its name, seconds until its pixels were there, seconds in all, its
models' parts."""

Record = tuple[
    str,
    str,
    str,
    int,
    str,
    float,
    float,
    float,
    Part | None,
    Sequence[Photo],
    bytes,
    object,
]
"""Id, route, model as it was asked (empty: none by path), status (0: not answered), code, and on
the monotonic clock: when its head was there, when all of it was (0: it never was), when it ended.
Then one model's part, or photos; of a refusal its problem document and the `Reckoning`."""

#: Where what belongs to a record stands in it.
ID: Final = 0
STATUS: Final = 3
ENDED: Final = 7


class _Shelf:
    """Records of one kind, the oldest first."""

    __slots__ = ("_bytes", "_max_bytes", "_records", "_sizes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records: deque[Record] = deque()
        self._sizes: deque[int] = deque()

    def add(self, record: Record, size_bytes: int) -> None:
        self._records.append(record)
        self._sizes.append(size_bytes)
        self._bytes += size_bytes
        while self._bytes > self._max_bytes:
            self._drop()

    def trim(self, before: float) -> None:
        while self._records and self._records[0][ENDED] < before:
            self._drop()

    def find(self, id: str) -> list[Record]:
        return [record for record in self._records if record[ID] == id]

    def _drop(self) -> None:
        self._records.popleft()
        self._bytes -= self._sizes.popleft()


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

    def add(self, record: Record, more_bytes: int = 0) -> None:
        """Keeps any other record.

        Args:
            more_bytes: what it takes beyond one model's part: of photos, of a problem document.
        """
        shelf = self._answers if record[STATUS] == 200 else self._others
        shelf.add(record, RECORD_BYTES + more_bytes)

    def find(self, id: str, now: float) -> list[Record]:
        """Those of this id, by when they ended: callers may give the same one twice."""
        self.trim(now)
        plain = [record for record in self._plain if record[ID] == id]
        found = plain + self._answers.find(id) + self._others.find(id)
        return sorted(found, key=lambda record: record[ENDED])

    def trim(self, now: float) -> None:
        """Drops what is too old."""
        before = now - KEPT_SECONDS
        while self._plain and self._plain[0][ENDED] < before:
            self._plain.popleft()
        self._answers.trim(before)
        self._others.trim(before)
