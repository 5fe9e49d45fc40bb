"""One example's place at one replica, from before its body is read to the answer.

`fleet` hands tickets out, and whoever has one sends at most one example with it
and gives the place back, however that ends. What the answer means to others -
whether it is remembered, waited for, or put together with more - is theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from coordinator.arrivals import Note
from coordinator.errors import DemitasseError, InvalidOutput, QueueFull
from coordinator.link import Link, Settle, settling
from coordinator.replica import Replica
from wire.answers import unpack_answer
from wire.errors import WireError
from wire.examples import Result
from wire.flows import Flow
from wire.tensor import Tensor, made


class Prediction(msgspec.Struct, frozen=True):
    """A Result, with the answer unpacked, where it comes from and what the road took."""

    result: Result
    output: Any
    replica: str
    link_seconds: float


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
