"""The places that one request has taken, and has not used yet."""

from __future__ import annotations

from typing import Self

from coordinator.arrivals import Note, refused
from coordinator.errors import DeadlineUnmeetable, DemitasseError, QueueFull
from coordinator.fleet import Fleet
from coordinator.ticket import Ticket
from wire.flows import Flow

NO_ROOM = (QueueFull, DeadlineUnmeetable)


class Seats:
    """One request's places, by name in the answer; the image tier's is `DECODER`.

    Each is held until a flight takes it over or it is given back. A context manager.
    """

    def __init__(self, fleet: Fleet, flow: Flow) -> None:
        """
        Args:
            flow: whose turn what is sent from here counts against.
        """
        self._fleet = fleet
        self._flow = flow
        self._held: dict[str, Ticket] = {}
        self._refused: dict[str, Note] = {}  # who may still find room

    def reserve(
        self, name: str, model: str, version: str, deadline: float | None = None
    ) -> DemitasseError | None:
        """Takes a place unless there is one already; why there is none.

        Args:
            deadline: as `Fleet.reserve`.
        """
        if name in self._held:
            return None
        try:
            self._held[name] = self._fleet.reserve(model, version, self._flow, deadline)
        except DemitasseError as error:
            if isinstance(error, NO_ROOM):
                self._refused[name] = refused(model, version, self._flow, deadline)
            return error
        self._refused.pop(name, None)
        return None

    def memory(self, name: str, size_bytes: int) -> memoryview:
        """Where the one input of this place may be received: in sight of its host, if possible."""
        return self._held[name].memory(size_bytes)

    def take_over(self, name: str, model: str, version: str) -> Ticket:
        """The place, to be given back by whoever calls; another one where it is gone by now.

        Raises:
            Overloaded: there is none.
        """
        ticket = self._held.pop(name, None)
        if ticket is not None:
            return ticket
        try:
            return self._fleet.reserve(model, version, self._flow)
        except NO_ROOM:
            self._fleet.note(refused(model, version, self._flow, None))
            raise

    def give_back(self, name: str) -> None:
        ticket = self._held.pop(name, None)
        if ticket is not None:
            ticket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for name in list(self._held):
            self.give_back(name)
        while self._refused:
            self._fleet.note(self._refused.popitem()[1])
