"""How slowly bytes may move: bodies that arrive, answers that are read.

Plain rules over counts and the time: no clock, no socket. Both roads ask them,
so that a caller is hung up on alike. A byte now and then keeps every deadline
for a single read, and would hold a place, memory and a connection for ever.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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
