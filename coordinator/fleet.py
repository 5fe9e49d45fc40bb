"""The minions that are alive, their links, and who gets the work.

Told by `directory` which replicas there are, the fleet keeps a link to each.
A request takes a `Ticket` before its body is read: a place at one replica,
granted from what the replica pushed last and from what this coordinator has
outstanding there. The host has the last word; see `docs/adr/0002`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

import msgspec

from coordinator.arrivals import Note, forget, lane_of
from coordinator.errors import (
    DeadlineUnmeetable,
    DemitasseError,
    InvalidOutput,
    NotServing,
    QueueFull,
)
from coordinator.link import Link, Settle, open_link, settling
from coordinator.parcels import Parcels
from coordinator.returns import Returns
from wire.answers import unpack_answer
from wire.errors import WireError
from wire.examples import Result
from wire.flows import ANYBODY, Flow
from wire.status import Status
from wire.tensor import Tensor, made
from wire.tuning import Tuning

log = logging.getLogger("demitasse.coordinator.fleet")

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


class Prediction(msgspec.Struct, frozen=True):
    """A Result, with the answer unpacked, where it comes from and what the road took."""

    result: Result
    output: Any
    replica: str
    link_seconds: float


class Replica:
    """One minion: keeps a link to it open for as long as the registry lists it, and
    after that until the last ticket has come back."""

    def __init__(
        self, place: Place, name: str, parcels: Parcels | None, note: Callable[[Note], object]
    ) -> None:
        self.place = place
        self.note = note
        self.lane = lane_of(place.model, place.version)
        self.taken = 0
        self.tuning: Tuning | None = None
        self._returns = Returns(random.random)
        self._name = name
        self._parcels = parcels
        self._link: Link | None = None
        self._retired = False
        self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    @property
    def ready(self) -> bool:
        return self.room is not None

    @property
    def lives(self) -> bool:
        """Whether the link proves it. Over TCP it does not: a machine that lost its power
        hangs up on nobody. On this machine the kernel does, for whoever dies."""
        return self._link is not None and self.place.address.startswith("unix:")

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

    def link(self) -> Link:
        if self._link is None:
            raise _not_serving(self.place.model, self.place.version)
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
        while True:
            try:
                link = await open_link(self.place.address, self._name, self._parcels)
            except (OSError, TimeoutError, NotServing) as error:
                log.debug("no link to %s yet: %s", self.place.id, error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RECONNECT_SECONDS)
                continue
            await self._use(link)
            # A host that hangs up on everybody is not called without end.
            await asyncio.sleep(FIRST_RECONNECT_SECONDS)
            delay = FIRST_RECONNECT_SECONDS

    async def _use(self, link: Link) -> None:
        ready = link.ready.result()
        if (ready.model, ready.version) != (self.place.model, self.place.version):
            log.error("%s serves %s %s", self.place.address, ready.model, ready.version)
            link.close()
            await asyncio.sleep(LAST_RECONNECT_SECONDS)
            return
        applied = None
        while self.tuning is not None and self.tuning != applied:  # it may change meanwhile
            applied = self.tuning
            await _apply(link, applied)
        self._link = link
        try:
            await link.closed
        finally:
            self._link = None
        log.info("lost the link to %s", self.place.id)


class Ticket:
    """One example's place at one replica. A context manager: leaving it gives the place back."""

    __slots__ = ("_flow", "_id", "_link", "_replica", "_sent", "_settle", "place")

    def __init__(self, replica: Replica, flow: Flow) -> None:
        self.place = replica.place
        self._flow = flow
        self._replica: Replica | None = replica
        self._link: Link | None = None
        self._settle: Settle | None = None
        self._id = 0
        self._sent = 0.0
        replica.taken += 1

    def memory(self, size_bytes: int) -> memoryview:
        """Where the one input may be received: in sight of the host, if possible."""
        assert self._replica is not None
        return self._replica.link().memory(size_bytes)

    def send(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float,
        settle: Settle,
    ) -> None:
        """Asks for the model's answer to this one example.

        Args:
            deadline: on the monotonic clock.
            settle: called once with a Prediction or a DemitasseError, later than this
                returns, unless the ticket is closed before.

        Raises:
            NotServing, PayloadTooLarge: nothing was sent.
        """
        assert self._replica is not None
        self._settle = settle
        self._sent = time.monotonic()
        replica = self._replica
        link = replica.link()
        self._id = link.predict(inputs, parameters, deadline, self._answered, self._flow)
        self._link = link
        size = 0
        for tensor in inputs.values():
            size += len(tensor.data)
        replica.note(made(Note, (self._sent, replica.lane, self._flow, deadline, size, False)))

    async def predict(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float,
    ) -> Prediction:
        """As `send`, for whoever can wait.

        Raises:
            DemitasseError: refused, failed, lost, too late, or the replica is gone.
        """
        answered: asyncio.Future[Prediction | DemitasseError]
        answered = asyncio.get_running_loop().create_future()
        self.send(inputs, parameters, deadline, settling(answered))
        outcome = await answered
        try:
            if isinstance(outcome, DemitasseError):
                raise outcome
            return outcome
        finally:  # an error leads to this frame, and this frame to the example's memory
            del answered, outcome

    def _answered(self, outcome: Result | DemitasseError) -> None:
        assert self._settle is not None
        self._link = None  # which has nothing to call off any more
        if not isinstance(outcome, Result):
            if isinstance(outcome, QueueFull) and self._replica is not None:
                # Another coordinator was faster. Its host tells all of us the same moment.
                outcome.retry_after = self._replica.send_away()
            self._settle(outcome)
            return
        road = time.monotonic() - self._sent - outcome.queue_seconds - outcome.predict_seconds
        try:
            output = unpack_answer(outcome.answer)
        except WireError as error:
            self._settle(InvalidOutput(str(error)))
            return
        self._settle(Prediction(outcome, output, self.place.id, max(road, 0.0)))

    def close(self) -> None:
        """Gives the place back. What is still in flight is called off."""
        replica, self._replica = self._replica, None
        if replica is None:
            return
        self._settle = None  # an error that it was told leads back here, and to the memory
        if self._link is not None:
            self._link.cancel(self._id)
        replica.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Fleet:
    """All replicas that this coordinator may send work to."""

    def __init__(
        self,
        name: str,
        parcels: Parcels | None = None,
        note: Callable[[Note], object] = forget,
    ) -> None:
        """
        Args:
            name: what this process calls itself towards the minions.
            parcels: memory to share with those on this machine.
            note: told of every example that is sent to a minion, and by whoever asks for
                room of those that find none.
        """
        self.parcels = parcels
        self.note = note
        self._name = name
        self._replicas: dict[str, Replica] = {}
        self._by_version: dict[tuple[str, str], list[Replica]] = {}

    def update(self, places: Iterable[Place], lapsed: Iterable[Place] = ()) -> None:
        """From now on, these are the replicas. Those that stay keep their links.

        Args:
            lapsed: places whose lease has ended. Where a link shows that the host lives, it
                is whoever renews leases that is stuck, and the replica stays.
        """
        wanted = {place.id: place for place in places}
        for place in lapsed:
            replica = self._replicas.get(place.id)
            if replica is not None and replica.place == place and replica.lives:
                wanted[place.id] = place
        for id, replica in list(self._replicas.items()):
            if wanted.get(id) != replica.place:
                del self._replicas[id]
                replica.retire()
        for id, place in wanted.items():
            if id not in self._replicas:
                self._replicas[id] = Replica(place, self._name, self.parcels, self.note)
        self._by_version = {}
        for replica in self._replicas.values():
            key = (replica.place.model, replica.place.version)
            self._by_version.setdefault(key, []).append(replica)

    def stop(self) -> None:
        """Closes all links at once."""
        for replica in self._replicas.values():
            replica.close()
        self._replicas, self._by_version = {}, {}

    def reserve(
        self, model: str, version: str, flow: Flow = ANYBODY, deadline: float | None = None
    ) -> Ticket:
        """A place at the replica of this version that has the most room.

        Args:
            flow: whose turn it counts against there.
            deadline: on the monotonic clock; None where who asks goes on without the answer.

        Raises:
            NotServing: no replica is connected and ready.
            QueueFull: every one of them is at its limit.
            DeadlineUnmeetable: there is room, but too many are before it.
        """
        roomiest, most = None, 0
        for replica in self._by_version.get((model, version), ()):
            room = replica.room
            if room is not None and (roomiest is None or room > most):
                roomiest, most = replica, room
        if roomiest is None:
            raise _not_serving(model, version)
        if most <= 0:
            raise _queue_full(self._first_with_room(model, version))
        if deadline is not None:
            _refuse_if_too_late(roomiest, deadline)
        roomiest.expect()
        return Ticket(roomiest, flow)

    def _first_with_room(self, model: str, version: str) -> Replica:
        """That of the full replicas which has a place first that nobody was told of."""
        full = [r for r in self._by_version[model, version] if r.room is not None]
        return min(full, key=Replica.seconds_until_room)

    def ready(self, model: str, version: str) -> bool:
        return any(replica.ready for replica in self._by_version.get((model, version), ()))

    def all(self) -> list[Replica]:
        return list(self._replicas.values())

    def replicas(self, model: str, version: str) -> list[Replica]:
        return list(self._by_version.get((model, version), ()))

    async def tune(self, model: str, version: str, tuning: Tuning) -> None:
        """Applies new numbers to every replica; returns when all that are connected have them."""
        for replica in self.replicas(model, version):
            if replica.tuning != tuning:
                await replica.tune(tuning)


async def _apply(link: Link, tuning: Tuning) -> None:
    """A host that cannot be told now is told when it is connected again."""
    with contextlib.suppress(NotServing, TimeoutError):
        async with asyncio.timeout(TUNE_TIMEOUT_SECONDS):
            await link.tune(tuning)


def _queue_full(replica: Replica) -> QueueFull:
    place, occupied = replica.place, replica.occupied
    limit = occupied + (replica.room or 0)
    numbers: dict[str, float] = {"occupied": occupied, "limit": limit}
    status = replica.status
    if status is not None and status.promise is not None:
        numbers["promise_seconds"] = status.promise.seconds
    reckoning = replica.reckoning()  # before one more is told of a place
    error = QueueFull(
        f"{place.model} {place.version} has {occupied} examples queued or running, "
        f"its limit is {limit}",
        retry_after=replica.send_away(),
        members=numbers,
    )
    error.reckoning = reckoning
    return error


def _refuse_if_too_late(replica: Replica, deadline: float) -> None:
    expected = replica.expected_seconds()
    left = max(deadline - time.monotonic(), 0.0)
    if expected <= left:
        return
    place = replica.place
    error = DeadlineUnmeetable(
        f"{place.model} {place.version} is expected to answer in {expected:.3g} s, "
        f"the deadline is in {left:.3g} s",
        retry_after=expected - left,
        members={"expected_seconds": expected, "left_seconds": left},
    )
    error.reckoning = replica.reckoning()
    raise error


def _not_serving(model: str, version: str) -> NotServing:
    return NotServing(
        f"no replica of {model} {version} is ready", retry_after=NOT_SERVING_RETRY_SECONDS
    )
