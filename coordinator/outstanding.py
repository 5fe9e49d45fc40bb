"""What was asked over one link and is not answered yet: who waits for it, and until when.

An answer is a call, so that a request costs neither task nor future. Nobody waits
here without an end: deadlines are watched by one timer for all, and when the link is
lost, everybody is told at once. Knows no frames: `link` speaks with the host.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec

from coordinator.errors import DeadlineExceeded, NotServing

log = logging.getLogger("demitasse.coordinator.link")

Settle = Callable[[Any], None]
"""Told the outcome once: what was asked for, or the DemitasseError in its place."""


class Waiting(msgspec.Struct, frozen=True):
    """Whoever asked, and what has to last until it is answered."""

    settle: Settle
    deadline: float
    """On the monotonic clock."""
    kept: object = None
    """The shared memory in which the host looks at its inputs."""


class Outstanding:
    """All that one link waits for, by id."""

    def __init__(self, on_late: Callable[[int], None]) -> None:
        """
        Args:
            on_late: told the id of whatever was not answered in time, before whoever asked is.
        """
        self._loop = asyncio.get_running_loop()
        self._on_late = on_late
        self._waiting: dict[int, Waiting] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._watched = math.inf  # the deadline that the timer is for

    def expect(self, id: int, waiting: Waiting) -> None:
        """Is about to be asked."""
        self._waiting[id] = waiting
        if waiting.deadline < self._watched:
            self._watch_until(waiting.deadline)

    def settle(self, id: int, outcome: object) -> None:
        """Passes the outcome on, unless nobody waits for it any more."""
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            _tell(waiting, outcome)

    def forget(self, id: int) -> bool:
        """Nobody waits for it any more; whether anybody did."""
        return self._waiting.pop(id, None) is not None

    def fail(self, detail: str) -> None:
        """Everything fails, each with an error of its own, since each raises it.

        But for what is given up meanwhile, by what another one's end leads to.
        """
        for id in list(self._waiting):
            self.settle(id, NotServing(detail))
        if self._watch is not None:
            self._watch.cancel()
            self._watch, self._watched = None, math.inf

    def _watch_until(self, deadline: float) -> None:
        """One timer for all: most are answered long before, and then nobody has to stop it."""
        if self._watch is not None:
            self._watch.cancel()
        self._watched = deadline
        self._watch = self._loop.call_later(max(deadline - time.monotonic(), 0.0), self._expire)

    def _expire(self) -> None:
        """Those whose deadline has passed are told so, and the host too."""
        now, self._watch, self._watched = time.monotonic(), None, math.inf
        late = [id for id, waiting in self._waiting.items() if waiting.deadline <= now]
        for id in late:
            waiting = self._waiting.pop(id, None)
            if waiting is not None:  # else given up meanwhile, by what another one's end led to
                self._on_late(id)
                _tell(waiting, DeadlineExceeded())
        earliest = min((each.deadline for each in self._waiting.values()), default=math.inf)
        if earliest < self._watched:
            self._watch_until(earliest)


def _tell(waiting: Waiting, outcome: object) -> None:
    """What goes wrong with one caller must not end the link, with which all others wait."""
    try:
        waiting.settle(outcome)
    except Exception:
        log.exception("an answer could not be passed on")


def settling(future: asyncio.Future[Any]) -> Settle:
    """Settles a future with the outcome, unless nobody waits for it any more."""

    def settle(outcome: object) -> None:
        if not future.done():
            future.set_result(outcome)

    return settle
