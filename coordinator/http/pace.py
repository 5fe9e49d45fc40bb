"""How slowly bytes may move: bodies that arrive, answers that are read, heads that trickle.

Plain rules over counts and the time: no clock, no socket. Both roads ask them,
so that a caller is hung up on alike. A byte now and then keeps every deadline
for a single read, and would hold a place, memory and a connection for ever.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: The line end before and the empty line that ends a head.
_END = b"\r\n\r\n"
#: What all lines of a head may have together; one line: 8190 bytes (aiohttp's own limit).
MAX_HEAD_BYTES = 32 * 1024


#: How often connections are looked at that wait for their caller, at the least.
_LOOK_SECONDS = 0.5


class Patience(NamedTuple):
    """How long a connection may wait for its caller, in seconds."""

    keepalive: float
    """For the next request."""
    head: float
    """For all of a head, from its first byte."""
    body: float
    """For all of a body."""
    body_idle: float
    """For something more of it; and over as long its pace is kept."""
    answer: float
    """Over which the pace is kept at which an answer is read."""
    lingering: float
    """For the rest of a refused body, thrown away so that the caller gets to see the answer."""
    least_per_second: float
    """Bytes, of a body that arrives and of an answer that is read."""

    @property
    def look_seconds(self) -> float:
        """How often to look, so that nobody gets much more than is granted."""
        granted = self.keepalive, self.head, self.body_idle, self.answer, self.lingering
        return min(_LOOK_SECONDS, max(min(granted) / 2, 0.05))


class Pace:
    """Whether bytes move fast enough, looked at over windows of some seconds.

    In each window has to move what the least rate makes of its length, or all that could.
    """

    __slots__ = ("_could", "_done", "_least_per_second", "_since", "_window")

    def __init__(self, least_per_second: float, window_seconds: float, now: float) -> None:
        """
        Args:
            least_per_second: bytes; 0: as slowly as they like.
        """
        self._least_per_second = least_per_second
        self._window = window_seconds
        self.begin(now)

    def begin(self, now: float, done: int = 0, could: float = math.inf) -> None:
        """A window begins now.

        Args:
            done: bytes that have moved, ever.
            could: how many more there are to move.
        """
        self._since, self._done, self._could = now, done, could

    def kept(self, now: float, done: int, could: float = math.inf) -> bool:
        """Whether the window that is over, if one is, has seen enough. Arguments as `begin`."""
        elapsed = now - self._since
        if elapsed < self._window:
            return True
        moved, wanted = done - self._done, min(self._least_per_second * elapsed, self._could)
        self.begin(now, done, could)
        return moved >= wanted


class HeadWatch:
    """How long a head has been arriving, and how long it is, on a connection of any requests."""

    __slots__ = ("_awaited", "_size", "_tail", "since")

    def __init__(self) -> None:
        self.expect()

    def expect(self) -> None:
        """The next bytes belong to a head."""
        self._awaited = True
        self._size = 0
        self._tail = b""
        self.since: float | None = None
        """When the first byte arrived of a head that is not complete."""

    def ignore(self) -> None:
        """Whatever arrives belongs to no head, until the next one is expected."""
        self._awaited = False
        self.since = None

    def feed(self, data: bytes, now: float) -> bool:
        """Looks at what arrived; False where the head has become too long."""
        if not self._awaited or not data:
            return True
        if self.since is None:
            self.since = now
        if not self._size:  # RFC 9112, 2.2: empty lines before a request are skipped
            data = data.lstrip(b"\r\n")
        end = (self._tail + data[: MAX_HEAD_BYTES + len(_END)]).find(_END)
        self._size += len(data) if end < 0 else max(0, end - len(self._tail))
        if end >= 0:
            self.ignore()
        else:
            self._tail = (self._tail + data)[-len(_END) + 1 :]
        return self._size <= MAX_HEAD_BYTES
