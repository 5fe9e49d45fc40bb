"""What a version makes of an input, predicted no more often than is needed.

A version that was asked the same before is not asked again while its answer is
remembered; one that is being asked by another request is waited for. What is
left is predicted in a flight, in a place of its own, and a place that is not
needed is given back as soon as that is known.

`photos` and `examples` say how a prediction comes about; here it is one of the
two, looked at from outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from coordinator.cache import Entry, Key, PhotoFacts
from coordinator.errors import DeadlineExceeded, DemitasseError
from coordinator.flights import Flights, Wait, is_misfortune, settled
from coordinator.merge import Cached, Outcome, Shared
from coordinator.metrics import count_shared
from coordinator.results import Results
from coordinator.seats import Seats
from coordinator.ticket import Prediction, Ticket
from model_registry.snapshot import Version
from wire.answers import unpack_answer


class Predicted(NamedTuple):
    """What a flight comes to that goes well."""

    prediction: Prediction
    facts: PhotoFacts | None = None
    """Of the photo that the input was made from."""
    decoded_at: float = 0.0
    """When its pixels were there, on the monotonic clock; 0 where none were needed."""


Predict = Callable[[Version, Ticket], Coroutine[Any, Any, Predicted]]
"""Has a version's prediction made in this place. Raises DemitasseError."""
Landed = Predicted | Entry | DemitasseError


class Asked(NamedTuple):
    """One version, asked about one input by one request."""

    name: str
    """Of its place among the seats."""
    version: Version
    key: Key
    """Of the version and the input."""
    seats: Seats
    deadline: float
    """On the monotonic clock, as is the next."""
    started: float
    """When the request came to this input."""


class Answer(NamedTuple):
    """What a version comes to, for one request."""

    outcome: Outcome
    facts: PhotoFacts | None = None
    decoded_at: float = 0.0
    """As of what was predicted, or failed."""


class Predictions:
    """Those of one kind of input that are remembered or under way."""

    def __init__(self, results: Results, *, of_photos: bool) -> None:
        """
        Args:
            of_photos: whether what others remember is worth nothing without the photo's facts.
        """
        self._results = results
        self._of_photos = of_photos
        self._flights: Flights[Key, Landed] = Flights()

    def is_under_way(self, key: Key) -> bool:
        return self._flights.find(key) is not None

    def remembered(self, asked: Asked) -> Answer | None:
        """From this process's memory, at once. The place is given back where it is there."""
        entry = self._results.lookup(asked.version, asked.key)
        if entry is None or not self._is_whole(entry):
            return None
        asked.seats.give_back(asked.name)
        return _remembered(entry, asked.started)

    def wait(self, asked: Asked, predict: Predict) -> Wait[Landed]:
        """A wait for the flight that is under way, or for one that begins."""
        fly = partial(self._fly, asked, predict)
        wait = self._flights.wait(asked.key, fly, asked.deadline)
        if not wait.leads:
            count_shared(asked.version.model, asked.version.version)
            asked.seats.give_back(asked.name)
        return wait

    async def answer(self, asked: Asked, predict: Predict, wait: Wait[Landed]) -> Answer:
        """What the wait comes to, or the next one where another request's misfortune ended it."""
        try:
            again = partial(self.wait, asked, predict)
            landed, own = await settled(wait, again, is_misfortune)
        except DeadlineExceeded as error:
            return Answer(error)
        if isinstance(landed, DemitasseError):
            return Answer(landed, decoded_at=landed.decoded_at)
        if isinstance(landed, Entry):
            return _remembered(landed, asked.started)
        prediction, facts, decoded_at = landed
        if own:
            return Answer(prediction, facts, decoded_at)
        return Answer(Shared(prediction, time.monotonic() - asked.started), facts, decoded_at)

    async def _fly(self, asked: Asked, predict: Predict) -> Landed:
        """Looked for where coordinators share what they remember, and predicted."""
        version = asked.version
        try:
            with asked.seats.take_over(asked.name, version.model, version.version) as ticket:
                entry = await self._results.ask_others(version, asked.key)
                if entry is not None and self._is_whole(entry):
                    return entry
                predicted = await predict(version, ticket)
        except DemitasseError as error:
            return error
        self._results.store(version, asked.key, predicted.prediction, predicted.facts)
        return predicted

    def _is_whole(self, entry: Entry) -> bool:
        return not self._of_photos or entry.photo is not None


def _remembered(entry: Entry, started: float) -> Answer:
    output = unpack_answer(entry.answer)
    return Answer(Cached(entry, output, time.monotonic() - started), entry.photo)
