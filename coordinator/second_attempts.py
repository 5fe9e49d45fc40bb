"""Examples whose replica was lost under them, until another one takes them or it is too late.

Each was let in before, and is sent once more: to another replica that has room, or
to its own when that is back, where its place is kept. Who is lucky never comes
here. That an example is sent twice at most is its ticket's business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from coordinator.errors import NotServing
from coordinator.replica import Place, Replica, not_serving

log = logging.getLogger("demitasse.coordinator.second_attempts")

#: How often those who wait look for room, while anybody waits.
LOOK_SECONDS = 0.02
#: To answer a caller takes less: who would be late in any case is told before it is.
LAST_SECONDS = 0.1


class Stranded(Protocol):
    """Somebody who waits for a replica."""

    @property
    def place(self) -> Place: ...

    @property
    def until(self) -> float:
        """From when on it is too late, on the monotonic clock."""

    def send_again(self, replica: Replica) -> None: ...

    def give_up(self, error: NotServing) -> None: ...


class SecondAttempts:
    """Those of one fleet."""

    def __init__(self, replicas: Callable[[str, str], Sequence[Replica]]) -> None:
        """
        Args:
            replicas: those of a version that are listed now, connected or not.
        """
        self.only_once: frozenset[tuple[str, str]] = frozenset()
        """Versions that may have begun on an example, and must not see it again."""
        self._replicas = replicas
        self._waiting: dict[Stranded, None] = {}
        self._timer: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def permits(self, place: Place) -> bool:
        """Whether what was under way there may be computed twice."""
        return (place.model, place.version) not in self.only_once

    def add(self, stranded: Stranded) -> None:
        """Has it sent, or told that it cannot be, later than this returns."""
        self._waiting[stranded] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._look)

    def add_refused(self, stranded: Stranded) -> None:
        """As `add`, of one that was sent where there was no room, of which we are told soon."""
        self._waiting[stranded] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def leave(self, stranded: Stranded) -> None:
        """It does not wait any more, if it did."""
        self._waiting.pop(stranded, None)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        kept = Counter(stranded.place for stranded in self._waiting)
        for stranded in list(self._waiting):
            if stranded in self._waiting:  # else it left, by what another one's end led to
                place = stranded.place
                try:
                    self._help(stranded, now, kept[place])
                except Exception:  # one caller's trouble: all others still wait here
                    log.exception("a second attempt failed in a way that was not foreseen")
                kept[place] -= stranded not in self._waiting
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _help(self, stranded: Stranded, now: float, kept: int) -> None:
        place = stranded.place
        listed = self._replicas(place.model, place.version)
        replica = choice(place, kept, listed)
        if replica is not None:
            del self._waiting[stranded]
            stranded.send_again(replica)
        elif not listed or now >= stranded.until:
            del self._waiting[stranded]
            stranded.give_up(not_serving(place.model, place.version, listed))


def choice(place: Place, kept: int, listed: Sequence[Replica]) -> Replica | None:
    """The replica with the most room, for somebody who was lost at that place; None: all are
    away, or full.

    Args:
        kept: how many places are kept there for those who were, this one among them.
    """
    best, most = None, 0
    for replica in listed:
        room = replica.room
        if room is None:
            continue
        if replica.place == place:
            room += kept
        if room > most:
            best, most = replica, room
    return best
