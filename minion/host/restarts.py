"""When a process that ended is started again, and how its end is told.

Pure: the keepers of workers, and the supervisor of hosts and coordinators, bring
what happened and hold the clock.
"""

from __future__ import annotations

FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 30.0
#: A process that stayed this long had nothing wrong with its start.
STABLE_AFTER_SECONDS = 10.0


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


def describe_ending(status: int) -> str:
    """A process's exit status, as `subprocess` gives it, in words."""
    return f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
