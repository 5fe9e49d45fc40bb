"""What a version makes of an input, predicted no more often than is needed.

A version that was asked the same before is not asked again while its answer is
remembered; one that is being asked by another request is waited for. What is
left is predicted in a flight, in a place of its own, and a place that is not
needed is given back as soon as that is known.

How a prediction is made is handed in by `photos` and `examples`; here no input is
looked at.
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


class Failed(NamedTuple):
    """What a flight comes to otherwise."""

    error: DemitasseError
    decoded_at: float = 0.0
    """When the pixels were there, of a model that failed on them."""
    of_photo: bool = False
    """Whether it is about the photo itself, which no model can be asked about then."""


Landed = Predicted | Failed | Entry


class Call(NamedTuple):
    """One version, asked about one input by one request."""

    name: str
    """Of its place among the seats."""
    version: Version
    key: Key
    """Of the version and the input."""
    seats: Seats
    predict: Callable[[Ticket], Coroutine[Any, Any, Predicted | Failed]]
    """Has the prediction made in this place, where nobody else has it made. May raise
    DemitasseError."""
    deadline: float
    """On the monotonic clock, as is the next."""
    started: float
    """When the request came to this input."""


class Said(NamedTuple):
    """What a version comes to, for one request."""

    outcome: Outcome
    facts: PhotoFacts | None = None
    decoded_at: float = 0.0
    of_photo: bool = False
    """These as of what the flight came to."""


class Predictions:
    """Those of one kind of input that are remembered or under way."""

    def __init__(self, results: Results, *, need_facts: bool) -> None:
        """
        Args:
            need_facts: whether what is remembered is worth nothing without the photo's facts.
        """
        self._results = results
        self._need_facts = need_facts
        self._flights: Flights[Key, Landed] = Flights()

    def is_under_way(self, key: Key) -> bool:
        return self._flights.find(key) is not None

    def remembered(self, version: Version, key: Key, started: float) -> Said | None:
        """From this process's memory, at once."""
        entry = self._results.lookup(version, key)
        return _remembered(entry, started) if entry is not None and self._is_whole(entry) else None

    def wait(self, call: Call) -> Wait[Landed]:
        """A wait for the flight that is under way, or for one that begins."""
        wait = self._flights.wait(call.key, partial(self._fly, call), call.deadline)
        if not wait.leads:
            count_shared(call.version.model, call.version.version)
            call.seats.give_back(call.name)
        return wait

    async def said(self, call: Call, wait: Wait[Landed]) -> Said:
        """What this call's wait comes to, or the next one where another request's misfortune
        ended it."""
        try:
            landed, own = await settled(wait, partial(self.wait, call), _is_misfortune)
        except DeadlineExceeded as error:
            return Said(error)
        if isinstance(landed, Failed):
            return Said(landed.error, None, landed.decoded_at, landed.of_photo)
        if isinstance(landed, Entry):
            return _remembered(landed, call.started)
        prediction, facts, decoded_at = landed
        if own:
            return Said(prediction, facts, decoded_at)
        return Said(Shared(prediction, time.monotonic() - call.started), facts, decoded_at)

    async def _fly(self, call: Call) -> Landed:
        """Looked for where coordinators share what they remember, and predicted."""
        version = call.version
        try:
            with call.seats.take_over(call.name, version.model, version.version) as ticket:
                entry = await self._results.ask_others(version, call.key)
                if entry is not None and self._is_whole(entry):
                    return entry
                landed = await call.predict(ticket)
        except DemitasseError as error:
            return Failed(error)
        if isinstance(landed, Predicted):
            self._results.store(version, call.key, landed.prediction, landed.facts)
        return landed

    def _is_whole(self, entry: Entry) -> bool:
        return not self._need_facts or entry.photo is not None


def _remembered(entry: Entry, started: float) -> Said:
    output = unpack_answer(entry.answer)
    return Said(Cached(entry, output, time.monotonic() - started), entry.photo)


def _is_misfortune(landed: Landed) -> bool:
    return isinstance(landed, Failed) and is_misfortune(landed.error)
