"""The minions that are alive, and who gets the work.

Told by `directory` which replicas there are, the fleet keeps a `replica` for
each. A request takes a `ticket` before its body is read: a place at one replica,
granted from what the replica pushed last and from what this coordinator has
outstanding there. The host has the last word; see `docs/adr/0002`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from coordinator.arrivals import Note, forget
from coordinator.errors import DeadlineUnmeetable, QueueFull
from coordinator.link import NOBODYS, open_link
from coordinator.parcels import Parcels
from coordinator.replica import Place, Replica, not_serving
from coordinator.second_attempts import SecondAttempts
from coordinator.ticket import Ticket
from wire.credentials import Credentials
from wire.flows import ANYBODY, Flow
from wire.tuning import Tuning


class Fleet:
    """All replicas that this coordinator may send work to."""

    def __init__(
        self,
        name: str,
        parcels: Parcels | None = None,
        note: Callable[[Note], object] = forget,
        credentials: Credentials = NOBODYS,
    ) -> None:
        """
        Args:
            name: what this process calls itself towards the minions.
            parcels: memory to share with those on this machine.
            note: told of every example that is sent to a minion, and by whoever asks for
                room of those that find none.
            credentials: for links to other machines.
        """
        self.parcels = parcels
        self.note = note
        self.second_attempts = SecondAttempts(self.replicas)
        self._open = partial(open_link, name=name, parcels=parcels, credentials=credentials)
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
                self._replicas[id] = Replica(place, self._open, self.note)
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
            raise not_serving(model, version, self.replicas(model, version))
        if most <= 0:
            raise _queue_full(self._first_with_room(model, version))
        if deadline is not None:
            _refuse_if_too_late(roomiest, deadline)
        roomiest.expect()
        return Ticket(roomiest, flow, self.second_attempts)

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
