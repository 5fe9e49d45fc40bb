"""One minion, as this coordinator sees it: a link that is kept open, and what it is told there.

How much room it has follows from what the host pushed last and from what this
coordinator has outstanding; when whoever is refused should come back, from
`returns`. Knows no other replica: which of them gets the work is decided in
`fleet`, and what is sent to it is a `ticket`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from coordinator.arrivals import Note, lane_of
from coordinator.errors import NotServing
from coordinator.link import Link
from coordinator.returns import Returns
from wire.frames import fresh
from wire.greetings import Ready
from wire.status import Status
from wire.tuning import Tuning

log = logging.getLogger("demitasse.coordinator.replica")

FIRST_RECONNECT_SECONDS = 0.05
LAST_RECONNECT_SECONDS = 1.0
TUNE_TIMEOUT_SECONDS = 2.0
#: What a caller is told to wait for a minion that is not there: restarting one takes about that.
NOT_SERVING_RETRY_SECONDS = 2.0


class Place(NamedTuple):
    """A replica as the registry has it."""

    id: str
    model: str
    version: str
    address: str
    epoch: int


class Reckoning(NamedTuple):
    """What a refusal was decided from, for whoever explains it."""

    replica: str
    occupied: int
    """Examples there, or on their way there, as far as this coordinator could know."""
    max_batch_size: int
    told_seconds: float
    """Until the place of which whoever was refused last was told."""
    status: Status
    """What the replica had pushed last."""


class Replica:
    """One minion: keeps a link to it open for as long as the registry lists it, and
    after that until the last ticket has come back."""

    def __init__(
        self,
        place: Place,
        open: Callable[[str], Awaitable[Link]],
        note: Callable[[Note], object],
    ) -> None:
        """
        Args:
            open: a link to an address; raises as `open_link`.
            note: told of every example that is sent.
        """
        self.place = place
        self.note = note
        self.lane = lane_of(place.model, place.version)
        self.taken = 0
        self.tuning: Tuning | None = None
        self._returns = Returns(random.random)
        self._open = open
        self._link: Link | None = None
        self._retired = False
        self._missed = ""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    @property
    def ready(self) -> bool:
        return self.room is not None

    @property
    def lives(self) -> bool:
        """Whether the link proves it: one that is silent does not stay open."""
        return self._link is not None

    @property
    def occupied(self) -> int:
        """Examples there, or on their way there, as far as this coordinator can know."""
        status = self._link.status if self._link is not None else None
        return self.taken + (status.others if status is not None else 0)

    @property
    def room(self) -> int | None:
        """How many more examples it takes; None while it takes none at all, full or not."""
        link = self._link
        if link is None or link.stuck:
            return None
        status = link.status
        if status is None or not status.ready or status.draining:
            return None
        return status.queue_limit - status.others - self.taken

    @property
    def status(self) -> Status | None:
        """What it pushed last; None while there is no link."""
        return self._link.status if self._link is not None else None

    def expected_seconds(self) -> float:
        """Until one more would be answered whose turn is next; 0 before anything was measured.

        Whose turn comes before is known to the host alone. An empty lane is never said to be
        slow: nobody would ever find out that it is not.
        """
        status = self.status
        return status.seconds_alone if status is not None and self.occupied else 0.0

    @property
    def _max_batch_size(self) -> int:
        return self.tuning.max_batch_size if self.tuning is not None else 1

    def seconds_until_room(self) -> float:
        """Until there is a place that nobody was told of."""
        return self._returns.next(
            time.monotonic(), missing=self._missing(), seconds_each=self._seconds_each()
        )

    def send_away(self) -> float:
        """Somebody is told to come back: in so many seconds."""
        return self._returns.tell(
            time.monotonic(), missing=self._missing(), seconds_each=self._seconds_each()
        )

    def _missing(self) -> int:
        """How many must leave before whoever is told to come back finds room.

        Under a promise they come when there is room for others, too: who would fill every
        place that becomes free makes the queue stand, and is refused once more.
        """
        missing, status = 1 - (self.room or 0), self.status
        if status is None or status.promise is None:
            return missing
        return max(missing, self.occupied - status.promise.enough + 1)

    def expect(self) -> None:
        """Somebody gets a place here."""
        if self._returns.pending:
            self._returns.taken(
                time.monotonic(), seconds_each=self._seconds_each(), empty=not self.occupied
            )

    def _seconds_each(self) -> float:
        """How often a place becomes free for this coordinator; the others get as many."""
        status = self.status
        return 0.0 if status is None else status.seconds_per_example * max(status.coordinators, 1)

    def reckoning(self) -> Reckoning | None:
        """What is known of it; None where there is no link."""
        status = self.status
        if status is None:
            return None
        told = self._returns.told_for(time.monotonic())
        return Reckoning(self.place.id, self.occupied, self._max_batch_size, told, status)

    def memory(self, size_bytes: int) -> memoryview:
        """Where an input may be received: in sight of the host, if possible."""
        return fresh(size_bytes) if self._link is None else self._link.memory(size_bytes)

    def seconds_until_ready(self) -> float:
        """After which it may be, where it is not: a minion that has failed says when it tries."""
        link = self._link
        if link is None or link.status is None or link.status.seconds_until_try is None:
            return NOT_SERVING_RETRY_SECONDS
        left = link.status.seconds_until_try - (time.monotonic() - link.told_at)
        return max(left, NOT_SERVING_RETRY_SECONDS)

    def link(self) -> Link:
        if self._link is None:
            raise not_serving(self.place.model, self.place.version, [self])
        return self._link

    async def tune(self, tuning: Tuning) -> None:
        """Applies new numbers, now if it is connected, and after every reconnect."""
        self.tuning = tuning
        if self._link is not None:
            await _apply(self._link, tuning)

    def give_back(self) -> None:
        self.taken -= 1
        if self._retired and not self.taken:
            self.close()

    def retire(self) -> None:
        """Nobody new is sent here. What is on its way is answered, and then the link closed."""
        self._retired = True
        if not self.taken:
            self.close()

    def close(self) -> None:
        self._task.cancel()
        if self._link is not None:
            self._link.close()

    async def _stay_connected(self) -> None:
        delay = FIRST_RECONNECT_SECONDS
        while not self._retired:
            try:
                link = await self._open(self.place.address)
                await self._use(link)
                # A host that hangs up on everybody is not called without end.
                delay = FIRST_RECONNECT_SECONDS
            except NotServing as error:
                self._miss(str(error), logging.WARNING)
            except (OSError, TimeoutError) as error:
                self._miss(str(error) or "it does not answer", logging.INFO)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RECONNECT_SECONDS)

    def _miss(self, why: str, level: int) -> None:
        """Tells the log why there is no link, and not again before there is another reason."""
        if why != self._missed:
            self._missed = why
            log.log(level, "no link to %s: %s", self.place.id, why)

    async def _use(self, link: Link) -> None:
        try:
            stranger = self._stranger(link.ready.result())
            if stranger:
                raise NotServing(stranger)
            self._missed = ""
            applied = None
            while self.tuning is not None and self.tuning != applied:  # it may change meanwhile
                applied = self.tuning
                await _apply(link, applied)
            self._link = link
            await link.closed
        finally:
            self._link = None
            if not link.closed.done():
                link.close()
        log.info("lost the link to %s: %s", self.place.id, link.ending)

    def _stranger(self, ready: Ready) -> str:
        """Why whoever answers at the address is not the one that the registry lists.

        One that is listed no more may have been cut off from the registry, not from us. A
        newer one than is listed will be listed in a moment.
        """
        place = self.place
        if (ready.model, ready.version, ready.replica) != (place.model, place.version, place.id):
            return f"{place.address} is {ready.replica}, and serves {ready.model} {ready.version}"
        if ready.epoch < place.epoch:
            return f"{place.address} is of epoch {ready.epoch}; listed is {place.epoch}"
        return ""


def not_serving(model: str, version: str, replicas: Iterable[Replica]) -> NotServing:
    """Of a version that none of its replicas can be asked for now."""
    seconds = (replica.seconds_until_ready() for replica in replicas)
    return NotServing(
        f"no replica of {model} {version} is ready",
        retry_after=min(seconds, default=NOT_SERVING_RETRY_SECONDS),
    )


async def _apply(link: Link, tuning: Tuning) -> None:
    """A host that cannot be told now is told when it is connected again."""
    with contextlib.suppress(NotServing, TimeoutError):
        async with asyncio.timeout(TUNE_TIMEOUT_SECONDS):
            await link.tune(tuning)
