"""How soon an example is followed by others, learned from when they come.

Pure: the lane says what happened when; `economy` asks what a wait would bring.
Only those count who come while somebody before them is still unanswered: a
client that asks again once it has its answer would not have come sooner by
waiting for it.
"""

from __future__ import annotations

import math

#: A watch of ten ago weighs 0.35: new clients are met, and gone ones forgotten, that fast.
DECAY = 0.9
#: Those who were answered together ask again together, and nobody comes for a while then:
#: the window is looked at in so many parts.
PARTS = 8


class Company:
    """Arrivals in watches, by how far into the watch they come.

    A watch is begun by arrivals that find none on, and by every answered batch
    that leaves others waiting. It lasts as long as a batch may be held open, or
    until the next one begins or the lane is empty. Those who begin it are not
    counted: they are there already.
    """

    def __init__(self) -> None:
        self._part = 0.0  # seconds of a part; 0 while no batch is ever held open
        self._arrivals = [0.0] * PARTS
        self._seconds = [0.0] * PARTS
        self._since: float | None = None

    def set_window(self, seconds: float) -> None:
        """The longest that a batch is held open; forgets what was learned about another."""
        self._part = seconds / PARTS
        # As if one watch had been seen, and one joiner at any moment of it.
        self._arrivals = [1 / PARTS] * PARTS
        self._seconds = [self._part] * PARTS
        self._since = None

    def arrived(self, count: int, now: float) -> None:
        """So many examples came in together."""
        if not self._part:
            return
        if self._since is not None:
            part = int((now - self._since) / self._part)
            if part < PARTS:
                self._arrivals[part] += count
                return
            self._close(now)
        self._since = now

    def answered(self, now: float, *, left: int) -> None:
        """A batch was answered, so many are still in the lane."""
        if self._since is not None:
            self._close(now)
        if left and self._part:
            self._since = now

    def worth_waiting_until(self, members: int, saved_seconds: float, now: float) -> float:
        """Until when so many are best held, if each joiner saves so much; -inf: not at all.

        Each moment costs every member that moment and brings, at its rate, joiners.
        """
        if not self._part:
            return -math.inf
        since = now if self._since is None else self._since
        age = now - since
        gain, best, until = 0.0, 0.0, -math.inf
        for part in range(int(age / self._part), PARTS):
            end = (part + 1) * self._part
            rate = self._arrivals[part] / self._seconds[part]
            gain += (end - age) * (rate * saved_seconds - members)
            age = end
            if gain > best:
                best, until = gain, since + end
        return until

    def _close(self, now: float) -> None:
        assert self._since is not None
        watched = now - self._since
        self._since = None
        for part in range(PARTS):
            seen = min(watched - part * self._part, self._part)
            if seen <= 0:
                # Nothing was learned of what comes later, and so nothing of it is forgotten:
                # after thousands of short watches no digit of it would be left.
                break
            self._seconds[part] = self._seconds[part] * DECAY + seen
            self._arrivals[part] *= DECAY
