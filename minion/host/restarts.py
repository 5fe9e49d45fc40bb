"""When a process that ended is started again, when that is of no use, and how its end is told.

Pure: the keepers of workers, and the supervisor of hosts and coordinators, bring
what happened and hold the clock.
"""

from __future__ import annotations

from collections import deque

FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 30.0
#: A process that stayed this long had nothing wrong with its start.
STABLE_AFTER_SECONDS = 10.0
#: So many endings of one place's workers, within so long and with no batch answered between
#: them, are no accident.
BUDGET_ENDINGS = 5
BUDGET_SECONDS = 60.0
#: Or within so many times what a start takes, where that is more.
BUDGET_STARTS = 5


def is_stable(seconds: float) -> bool:
    """Whether to have stayed for so long proves that a process can."""
    return seconds > STABLE_AFTER_SECONDS


class RestartDelay:
    """How long to wait before the next start: twice as long each time, up to a limit."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY_SECONDS

    def after(self, *, proved: bool) -> float:
        """Seconds to wait, now that a process has ended; `proved` begins anew."""
        if proved:
            self._next = FIRST_DELAY_SECONDS
        delay, self._next = self._next, min(2 * self._next, LAST_DELAY_SECONDS)
        return delay


class Budget:
    """How often the workers of a lane may end before starting more is given up.

    A batch that was answered, by whichever of them, restores it.
    """

    def __init__(self, places: int) -> None:
        self._endings: deque[float] = deque(maxlen=BUDGET_ENDINGS * places)
        self._answered = 0
        self.spent = False

    def ended(self, now: float, *, answered: int, start_seconds: float = 0.0) -> None:
        """One ended, and that was not meant.

        Args:
            now: in seconds.
            start_seconds: from its start until it had loaded, or until it ended before that.
            answered: batches that the lane has answered in all.
        """
        if answered > self._answered:
            self._answered = answered
            self._endings.clear()
            self.spent = False
        self._endings.append(now)
        full = len(self._endings) == self._endings.maxlen
        # Once spent, it is not restored by a pause: that was ours.
        within = max(BUDGET_SECONDS, BUDGET_STARTS * start_seconds)
        self.spent = self.spent or (full and now - self._endings[0] <= within)


def describe_ending(status: int | None) -> str:
    """A process's exit status, as `subprocess` gives it, in words; None: nobody can tell."""
    if status is None:
        return "ended, and its template cannot tell how"
    return f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
