"""Rings when something that was expected within a time has not come.

`Expectation` is the rule, and pure. `Watchdog` has the timer: one for many expectations,
that looks every so often while something is expected. Knows no process; what
becomes of one that is overdue is decided by `workers`, which calls this.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

LOOK_SECONDS = 0.25
#: Between two looks lies no more, or whoever looks did not run, and perhaps nobody did.
LONGEST_LOOK_SECONDS = 2 * LOOK_SECONDS


class Expectation:
    """How long something may still take, while whoever waits for it runs as well.

    The time in which nobody looked is given back: a process that was stopped, on a machine that
    slept or was moved, finds when it wakes that its clock has gone on, and what it waits for
    may have been stopped with it.
    """

    def __init__(self) -> None:
        self._until = math.inf
        self._looked = 0.0

    def begin(self, seconds: float, now: float) -> None:
        """Something is to come within so long; what was expected before counts no more."""
        if self._until == math.inf:
            self._looked = now
        self._until = now + seconds

    def end(self) -> None:
        """It has come."""
        self._until = math.inf

    def look(self, now: float) -> float:
        """Seconds until the next look; 0: it is overdue, infinity: nothing is expected."""
        gap, self._looked = now - self._looked, now
        if gap > LONGEST_LOOK_SECONDS:
            self._until += gap - LOOK_SECONDS  # or who is always late would wait for ever
        left = self._until - now
        return left if left == math.inf else max(min(left, LOOK_SECONDS), 0.0)


class Watchdog:
    """Of one worker."""

    def __init__(self, on_overdue: Callable[[], None], on_look: Callable[[], None]) -> None:
        """
        Args:
            on_look: called whenever it looks and something is expected, and not overdue.
        """
        self._on_overdue = on_overdue
        self._on_look = on_look
        self._timer: asyncio.TimerHandle | None = None
        self._expectation = Expectation()

    def expect(self, seconds: float) -> None:
        """Something is to come within so long; what was expected before counts no more."""
        loop = asyncio.get_running_loop()
        self._expectation.begin(seconds, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(min(seconds, LOOK_SECONDS), self._look)

    def rest(self) -> None:
        """It has come."""
        self._expectation.end()

    def stop(self) -> None:
        """No timer is left. The next expectation may be shorter than the last one was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        seconds = self._expectation.look(loop.time())
        if not seconds:
            self._on_overdue()
        elif seconds < math.inf:
            self._timer = loop.call_later(seconds, self._look)
            self._on_look()
