"""Whether a process that is asked again and again, and does not answer, hangs.

Facts in, with the time; a decision out. One that never answered is still
starting and gets longer. Time in which nobody asked is given back: whoever asks
may have been stopped itself, and the other one with it. Asked by the minion, which acts on it.
"""

from __future__ import annotations

#: An event loop that nothing blocks answers within milliseconds, on a busy machine within one.
HUNG_AFTER_SECONDS = 5.0
#: Imports from a cold disk take ten; this is for those that never come to their end.
NEVER_STARTED_AFTER_SECONDS = 60.0
HUNG_AFTER_MISSES = 3
#: Between two questions lies a second at most, and another one until no answer is waited for. Half
#: as long again, and whoever asks did not run.
LONGEST_LOOK_SECONDS = 3.0


class Silence:
    """How long one process has not answered, since it was started."""

    def __init__(self, now: float) -> None:
        """`now`, in seconds, is when it was started."""
        self._heard = self._asked = now
        self.misses = 0
        """How often it has not answered since it last did."""
        self._limit = NEVER_STARTED_AFTER_SECONDS

    def heard(self, now: float) -> None:
        """It has answered."""
        self._heard = self._asked = now
        self.misses, self._limit = 0, HUNG_AFTER_SECONDS

    def missed(self, now: float) -> bool:
        """It has not answered; whether it hangs."""
        gap, self._asked = now - self._asked, now
        if gap > LONGEST_LOOK_SECONDS:
            self._heard += gap - LONGEST_LOOK_SECONDS / 2  # or who is always late would never know
        self.misses += 1
        return self.misses >= HUNG_AFTER_MISSES and now - self._heard >= self._limit
