"""Rings when something that was expected within a time has not come.

One timer for many expectations: it finds a later moment, and waits for that.
Knows no process; what becomes of one that is overdue is decided by `workers`,
which calls this.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Watchdog:
    """Of one worker."""

    def __init__(self, on_overdue: Callable[[], None]) -> None:
        self._on_overdue = on_overdue
        self._timer: asyncio.TimerHandle | None = None
        self._overdue_at = math.inf

    def expect(self, seconds: float) -> None:
        """Something is to come within so long; what was expected before counts no more."""
        loop = asyncio.get_running_loop()
        self._overdue_at = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._look_at_the_time)

    def rest(self) -> None:
        """It has come."""
        self._overdue_at = math.inf

    def stop(self) -> None:
        """No timer is left. The next expectation may be shorter than the last one was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_the_time(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._overdue_at <= loop.time():
            self._on_overdue()
        elif self._overdue_at < math.inf:
            self._timer = loop.call_at(self._overdue_at, self._look_at_the_time)
