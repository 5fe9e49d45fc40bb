"""Every so often, a look at everybody who is connected, a few at a time.

A thousand who were waited for long enough at once would otherwise hold up
everybody else: each costs some 40 microseconds to be told so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

_AT_ONCE = 32


class Lookable(Protocol):
    def look(self, now: float) -> None: ...


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
        self._look_at(list(self.connections))

    def _look_at(self, rest: list[T]) -> None:
        now = time.monotonic()
        for connection in rest[:_AT_ONCE]:
            if connection in self.connections:
                connection.look(now)
        if len(rest) > _AT_ONCE:
            asyncio.get_running_loop().call_soon(self._look_at, rest[_AT_ONCE:])
