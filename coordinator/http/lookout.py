"""Every so often, a look at everybody who is connected, a few at a time.

A thousand who were waited for long enough at once would otherwise hold up
everybody else: each costs some 40 microseconds to be told so. In between, the event
loop is everybody else's for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

_AT_ONCE = 8
#: Where there are so many that few at a time would take longer than the time between two rounds.
_PARTS = 200
_MOMENT_SECONDS = 0.001


class Lookable(Protocol):
    """A connection, as far as it is looked at."""

    def look(self, now: float) -> None:
        """Hangs up on a caller who makes others wait for longer than is granted."""


T = TypeVar("T", bound=Lookable)


class Lookout(Generic[T]):
    """Those who are looked at are a set, to which they are added and from which they are taken."""

    def __init__(self, seconds: float, before: Callable[[], None]) -> None:
        """
        Args:
            before: called before each round.
        """
        self.connections: set[T] = set()
        self._seconds = seconds
        self._before = before
        self._round()

    def stop(self) -> None:
        self._next.cancel()

    def _round(self) -> None:
        self._next: asyncio.Handle = asyncio.get_running_loop().call_later(
            self._seconds, self._round
        )
        self._before()
        everybody = list(self.connections)
        self._look_at(iter(everybody), max(_AT_ONCE, len(everybody) // _PARTS))

    def _look_at(self, rest: Iterator[T], at_once: int) -> None:
        now = time.monotonic()
        some = list(islice(rest, at_once))
        for connection in some:
            if connection in self.connections:
                connection.look(now)
        if some:
            asyncio.get_running_loop().call_later(_MOMENT_SECONDS, self._look_at, rest, at_once)
