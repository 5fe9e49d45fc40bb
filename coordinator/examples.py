"""One example of a model's own inputs, computed no more often than is needed.

As `photos` does it for photos, without an image tier: only for versions whose
results are remembered. What others are having computed is waited for, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from coordinator.cache import Entry, Key, key_of
from coordinator.decoder import predict
from coordinator.digests import digest_of
from coordinator.errors import DemitasseError
from coordinator.flights import Flights, Wait, is_misfortune, settled
from coordinator.merge import Cached, Outcome, Shared
from coordinator.metrics import count_shared
from coordinator.results import Results
from coordinator.seats import Seats
from coordinator.ticket import Prediction
from model_registry.snapshot import Version
from wire.answers import unpack_answer
from wire.tensor import Buffer, Tensor


class Example(msgspec.Struct, frozen=True):
    """What a model is asked, as values and as it came."""

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any]
    body: Buffer
    media_type: str


_Landed = Prediction | Entry | DemitasseError


class Examples:
    """Asks models, and remembers what they said where that lasts."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._computing: Flights[Key, _Landed] = Flights()

    async def ask(
        self, seats: Seats, version: Version, example: Example, deadline: float
    ) -> Outcome:
        """The model's answer, before the deadline.

        Args:
            seats: a place at the model, under its name.

        Raises:
            DemitasseError: as the model or its host says, or the deadline passed.
        """
        name = version.model
        if not self._results.keeps(version):
            with seats.take_over(name, name, version.version) as ticket:
                return await predict(ticket, example.inputs, example.parameters, deadline)
        started = time.monotonic()
        key = key_of(version.digest, example.media_type, await digest_of(example.body))
        entry = self._results.lookup(version, key)
        if entry is not None:
            seats.give_back(name)
            return _remembered(entry, started)
        wait = partial(self._wait, seats, version, key, example, deadline)
        landed, own = await settled(wait(), wait, is_misfortune)
        if isinstance(landed, DemitasseError):
            raise landed
        if isinstance(landed, Entry):
            return _remembered(landed, started)
        return landed if own else Shared(landed, time.monotonic() - started)

    def _wait(
        self, seats: Seats, version: Version, key: Key, example: Example, deadline: float
    ) -> Wait[_Landed]:
        compute = partial(self._compute, seats, version, key, example, deadline)
        wait = self._computing.wait(key, compute, deadline)
        if not wait.leads:
            count_shared(version.model, version.version)
            seats.give_back(version.model)
        return wait

    async def _compute(
        self, seats: Seats, version: Version, key: Key, example: Example, deadline: float
    ) -> _Landed:
        name = version.model
        try:
            with seats.take_over(name, name, version.version) as ticket:
                entry = await self._results.ask_others(version, key)
                if entry is not None:
                    return entry
                prediction = await predict(ticket, example.inputs, example.parameters, deadline)
        except DemitasseError as error:
            return error
        self._results.store(version, key, prediction)
        return prediction


def _remembered(entry: Entry, started: float) -> Cached:
    return Cached(entry, unpack_answer(entry.answer), time.monotonic() - started)
