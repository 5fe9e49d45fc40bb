"""One example of a model's own inputs, asked about as `photos` asks about photos.

There is no image tier. Where results are not remembered there are no flights, and
nobody waits for what others are having predicted. Called by `analysis`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from coordinator.cache import key_of
from coordinator.digests import digest_of
from coordinator.errors import DemitasseError
from coordinator.merge import Outcome
from coordinator.predictions import Call, Predicted, Predictions
from coordinator.results import Results
from coordinator.seats import Seats
from coordinator.ticket import Ticket
from model_registry.snapshot import Version
from wire.tensor import Buffer, Tensor


class Example(msgspec.Struct, frozen=True):
    """What a model is asked, as values and as it came."""

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any]
    body: Buffer
    media_type: str


class Examples:
    """Asks models, and remembers what they said where that lasts."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._predictions = Predictions(results, need_facts=False)

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
                return await ticket.predict(example.inputs, example.parameters, deadline)
        started = time.monotonic()
        key = key_of(version.digest, example.media_type, await digest_of(example.body))
        said = self._predictions.remembered(version, key, started)
        if said is not None:
            seats.give_back(name)
            return said.outcome
        predict = partial(_predict, example, deadline)
        call = Call(name, version, key, seats, predict, deadline, started)
        said = await self._predictions.said(call, self._predictions.wait(call))
        if isinstance(said.outcome, DemitasseError):
            raise copy.copy(said.outcome)  # others raise the same one
        return said.outcome


async def _predict(example: Example, deadline: float, ticket: Ticket) -> Predicted:
    return Predicted(await ticket.predict(example.inputs, example.parameters, deadline))
