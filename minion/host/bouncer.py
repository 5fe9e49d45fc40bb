"""Who may come in.

A Bouncer counts the examples waiting and running in one lane and lets in up to
a limit. It knows nothing of HTTP: a refusal is QueueFull, and the middleware
decides what that looks like outside. It never waits.
"""

from __future__ import annotations

import enum
from collections import Counter


class QueueFull(Exception):
    """The lane has reached its queue limit."""

    def __init__(self, occupied: int, limit: int) -> None:
        super().__init__(f"{occupied} examples are queued or running, the limit is {limit}")
        self.occupied = occupied
        self.limit = limit


class Ending(enum.Enum):
    """What became of an example that was let in."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


class Bouncer:
    """Admission to one lane: at most `limit` examples, queued plus running.

    Lowering the limit throws nobody out: whoever is in stays, and nobody new
    enters until the count is below the limit again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.occupied = 0
        self.admitted = 0
        self.refused = 0
        self.too_late = 0
        """Refused though there was room, since they would not have been answered in time."""
        self.endings: Counter[Ending] = Counter()

    def admit(self) -> None:
        """One comes in. Raises QueueFull, and then nothing was counted but the refusal."""
        if self.occupied >= self.limit:
            self.refused += 1
            raise QueueFull(self.occupied, self.limit)
        self.occupied += 1
        self.admitted += 1

    def leave(self, ending: Ending, count: int = 1) -> None:
        """So many that were let in are gone, each once."""
        self.occupied -= count
        self.endings[ending] += count
