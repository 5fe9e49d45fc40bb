"""How a process's listeners end: whoever was let in is answered, nobody is waited for in vain.

Signals tell an `Ending`; listeners, and whoever says whether this process is
ready, look at it. `drain` is what a listener does when it takes no more
connections: those that are answered are closed with the answer, those that are
idle a moment later, and what is left when the grace is over is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from typing import Protocol

from coordinator.errors import Draining
from coordinator.http.doors import Doors

#: For a connection without a request to send one, which is answered with the word that it is
#: the last: longer than the pause between two requests of somebody who is busy asking.
IDLE_SECONDS = 1.0
#: The same where a successor serves already, and nobody waits for the end.
HANDED_OVER_IDLE_SECONDS = 5.0
#: The exit status where requests were in progress when there was no more time for them.
UNFINISHED = 3
#: What a successor says to its supervisor when it takes connections.
READY = "ready"
_LOOK_SECONDS = 0.01
#: While what was said last leaves.
_LAST_LOOKS = 25


class Ending:
    """Of one process, from the first word of it."""

    def __init__(self, *, supervised: bool = False) -> None:
        """
        Args:
            supervised: a supervisor ends this process when it has no more time; told again, it
                goes on.
        """
        self._supervised = supervised
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self.handed_over = False
        """Its sockets are another process's already."""
        self.for_good = False
        """Nobody else has its sockets, nor will."""
        self.announced = False
        """Nobody should send anything more here: this process is not ready."""
        self.unfinished = 0
        """Requests that were in progress when there was no more time for them."""
        self.since = 0.0
        """On the monotonic clock, since when no connections are taken; 0: they are."""
        self._doors: list[Doors] = []

    def begin(self) -> None:
        """It shall end; told again: at once, unless a supervisor sees to that.

        Of a supervised process the second word is no second wish: service managers tell all
        processes of a platform, and then the supervisor tells those that it has.
        """
        if self.asked.is_set() and not self._supervised:
            self.at_once.set()
        self.announced = not self.handed_over
        self.asked.set()

    def begin_for_good(self) -> None:
        """As `begin`, and all of the platform ends."""
        self.for_good = True
        self.begin()

    def hand_over(self) -> None:
        """It shall end, and another process serves its sockets already: that one is ready."""
        if not self.asked.is_set():
            self.handed_over = True
            self.asked.set()

    def concerns(self, doors: Doors) -> None:
        """Of one more listener."""
        self._doors.append(doors)

    async def lame_duck(self, seconds: float) -> None:
        """Connections are taken for so long, or until it shall end at once; each for one answer.

        Where the sockets are another's already, they are not.
        """
        self._close_doors()
        if not self.handed_over:
            await _is_set(self.at_once, seconds)

    async def drain(self, inside: Callable[[], Collection[Inside]], grace_seconds: float) -> None:
        """Until all have left. The grace counts from when the first listener was closed."""
        self._close_doors()
        self.since = self.since or time.monotonic()
        patience = HANDED_OVER_IDLE_SECONDS if self.handed_over else IDLE_SECONDS
        idle_seconds = min(patience, grace_seconds)
        while inside() and not self.at_once.is_set():
            elapsed = time.monotonic() - self.since
            if elapsed >= grace_seconds:
                break
            if elapsed >= idle_seconds:
                for each in inside():
                    each.close_if_idle()
            await _is_set(self.at_once, _LOOK_SECONDS)
        await self._end(inside)

    async def _end(self, inside: Callable[[], Collection[Inside]]) -> None:
        """Tells those who are left, gives the words a moment, and hangs up."""
        self.unfinished += sum(each.give_up() for each in inside())
        for _ in range(_LAST_LOOKS):
            if not inside():
                return
            await asyncio.sleep(_LOOK_SECONDS)
        for each in inside():
            each.abort()

    def _close_doors(self) -> None:
        for doors in self._doors:
            doors.closing = True


class Inside(Protocol):
    """A connection, as far as it is asked to leave."""

    def close_if_idle(self) -> None:
        """Hangs up where nothing was asked that is not answered, nor has begun to arrive."""

    def give_up(self) -> bool:
        """Says that there is no more time, and hangs up; whether a request was in progress, or
        an answer on its way."""

    def abort(self) -> None:
        """Hangs up, whatever was written."""


def out_of_time() -> Draining:
    """What those are told who are in progress when there is no more time for them."""
    return Draining("this process ends, and there was no more time", retry_after=1.0)


async def _is_set(event: asyncio.Event, within_seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            await event.wait()
