"""A queue that stands: full once, never empty since, and of use to nobody.

A queue is there for those who come at once; it is worked off, and the last of them is
answered within the promise. Where more keep coming than can be answered it stays as long
as it is allowed to be: the workers do no more for it, and everybody waits for as long as
was promised. After as long as a full one takes to be worked off it is kept so short that
no worker has to wait for work, until nobody waits any more. Pure.
"""

from __future__ import annotations

import math

from minion.host.promise import Basis

#: Full batches of each worker: the one that it runs, the next one, and one that is forming.
MIN_BATCHES = 3
#: Of the limit. Where batches are short, three of them are nothing: between two there is more
#: to do for whoever hands them out.
MIN_PART = 8


def standing_limit(limit: int, basis: Basis) -> int:
    """What is let in while the queue stands, queued plus running, where it is `limit` otherwise."""
    return min(limit, max(MIN_BATCHES * basis.workers * basis.batch_size, limit // MIN_PART))


class Standing:
    """Whether the queue of one lane stands."""

    def __init__(self) -> None:
        self._full_since = math.inf
        self._emptied = -1

    def full(self, now: float, *, emptied: int) -> None:
        """The lane is at its limit.

        Args:
            emptied: how often the queue was.
        """
        if emptied != self._emptied:
            self._emptied, self._full_since = emptied, now

    def lasts(self, now: float, *, emptied: int, seconds: float) -> bool:
        """Whether it was full so long ago, and was not emptied since."""
        return emptied == self._emptied and self._full_since <= now - seconds
