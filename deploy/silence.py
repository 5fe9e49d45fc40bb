"""Whether a process that is asked again and again, and does not answer, hangs.

Facts in, with the time; a decision out. One that never answered is still
starting and gets longer. A single question without an answer says nothing,
however long ago the last answer was: whoever asks may have been stopped itself.
Asked by the minion, which acts on it.
"""

from __future__ import annotations

#: An event loop that nothing blocks answers within milliseconds, on a busy machine within one.
HUNG_AFTER_SECONDS = 5.0
#: Imports from a cold disk take ten; this is for those that never come to their end.
NEVER_STARTED_AFTER_SECONDS = 60.0
HUNG_AFTER_MISSES = 3


class Silence:
    """How long one process has not answered, since it was started."""

    def __init__(self, now: float) -> None:
        """`now`, in seconds, is when it was started."""
        self._heard = now
        self.misses = 0
        """How often it has not answered since it last did."""
        self._limit = NEVER_STARTED_AFTER_SECONDS

    def heard(self, now: float) -> None:
        """It has answered."""
        self._heard, self.misses, self._limit = now, 0, HUNG_AFTER_SECONDS

    def missed(self, now: float) -> bool:
        """It has not answered; whether it hangs."""
        self.misses += 1
        return self.misses >= HUNG_AFTER_MISSES and now - self._heard >= self._limit
