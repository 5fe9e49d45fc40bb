"""One example's place at one replica, from before its body is read to the answer.

`fleet` hands tickets out, and whoever has one sends at most one example with it
and gives the place back, however that ends. Where the link breaks under an example,
it may be sent once more, by another link: see `docs/adr/0022`. What the answer means to
others - whether it is remembered, waited for, or put together with more - is theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import msgspec

from coordinator.arrivals import Note
from coordinator.errors import (
    DemitasseError,
    Draining,
    InvalidOutput,
    NotServing,
    QueueFull,
    WorkerCrashed,
)
from coordinator.link import Link
from coordinator.metrics import count_answer, count_second_attempt
from coordinator.outstanding import Settle, settling
from coordinator.replica import NOT_SERVING_RETRY_SECONDS, Replica, not_serving
from coordinator.second_attempts import LAST_SECONDS, SecondAttempts
from wire.answers import unpack_answer
from wire.errors import WireError
from wire.examples import Result
from wire.flows import Flow
from wire.tensor import Tensor, made

#: What those are told who must not be run again, and may have been run.
_ONCE = "the model's minion was lost while it may have worked on this: not run again"


class Lost(NamedTuple):
    """The first of two attempts."""

    replica: str
    seconds: float
    """From when it was sent to when the second one was, the last time that was tried."""


class Prediction(msgspec.Struct, frozen=True):
    """A Result, with the answer unpacked, where it comes from and what the road took."""

    result: Result
    output: Any
    replica: str
    link_seconds: float
    lost: Lost | None = None
    """Of an answer to a second attempt."""


_Asked = tuple[Mapping[str, Tensor], Mapping[str, Any], float]
"""Inputs, parameters and deadline of what is to be sent, until it is answered."""


class Ticket:
    """One example's place at one replica. A context manager: leaving it gives the place back."""

    __slots__ = (
        *("_again", "_asked", "_flow", "_id", "_link", "_lost", "_replica", "_sent", "_settle"),
        *("place", "until"),
    )

    def __init__(self, replica: Replica, flow: Flow, again: SecondAttempts) -> None:
        """
        Args:
            again: who helps when the link is lost.
        """
        self.place = replica.place
        self._again = again
        self._asked: _Asked | None = None
        self._lost: Lost | None = None
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
        return self._replica.memory(size_bytes)

    def send(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float,
        settle: Settle,
    ) -> None:
        """Asks for the model's answer to this one example. What becomes of it is counted.

        Args:
            deadline: on the monotonic clock.
            settle: called once with a Prediction or a DemitasseError, later than this
                returns, unless the ticket is closed before.

        Raises:
            PayloadTooLarge: nothing was sent.
        """
        replica = self._replica
        assert replica is not None
        self._settle = settle
        self._sent = time.monotonic()
        self._asked = (inputs, parameters, deadline)
        try:
            link = replica.link()
            self._id = link.predict(inputs, parameters, deadline, self._answered, self._flow)
            self._link = link
        except NotServing:  # the link is lost already, or being opened
            self._strand(replica)
        except DemitasseError as error:
            self._count(error.code)
            raise
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

    def send_again(self, replica: Replica) -> None:
        """As `send`, there: the first attempt was in vain."""
        first = self._replica
        assert first is not None
        assert self._lost is not None
        if replica is not first:
            replica.expect()
            replica.taken += 1
            self._replica, self.place = replica, replica.place
            first.give_back()
        now = time.monotonic()
        if not self._lost.seconds:
            count_second_attempt(self.place.model, self.place.version)
        seconds = self._lost.seconds + now - self._sent
        self._lost, self._sent = Lost(self._lost.replica, seconds), now
        assert self._asked is not None
        try:
            link = replica.link()
            self._id = link.predict(*self._asked, self._answered, self._flow)
            self._link = link
        except DemitasseError as error:
            self.give_up(error)

    def give_up(self, error: DemitasseError) -> None:
        """There is no answer."""
        assert self._settle is not None
        self._asked = None
        self._count(error.code)
        self._settle(error)

    def _strand(self, replica: Replica) -> None:
        """Waits for a second attempt; its place is kept meanwhile."""
        assert self._asked is not None
        _, _, deadline = self._asked
        status = replica.status
        alone = status.seconds_alone if status is not None else 0.0
        self.until = deadline - max(alone, LAST_SECONDS)
        self._lost = Lost(self.place.id, 0.0)
        self._again.add(self)

    def _answered(self, outcome: Result | DemitasseError) -> None:
        assert self._settle is not None
        link, self._link = self._link, None  # which has nothing to call off any more
        if not isinstance(outcome, Result):
            assert link is not None
            self._refused(outcome, link)
            return
        road = time.monotonic() - self._sent - outcome.queue_seconds - outcome.predict_seconds
        try:
            output = unpack_answer(outcome.answer)
        except WireError as error:
            self.give_up(InvalidOutput(str(error)))
            return
        self._asked = None
        self._count("ok")
        self._settle(Prediction(outcome, output, self.place.id, max(road, 0.0), self._lost))

    def _refused(self, outcome: DemitasseError, link: Link) -> None:
        replica = self._replica
        assert replica is not None
        if self._lost is None:
            if self._may_go_again(outcome, link):
                self._strand(replica)
                return
            if _is_lost(outcome, link):
                self.give_up(WorkerCrashed(_ONCE))
                return
        elif _was_not_begun(outcome, link):
            # It had been let in, and nothing was begun there: not yet the second attempt.
            if time.monotonic() < self.until:
                self._again.add_refused(self)
            else:
                self.give_up(not_serving(self.place.model, self.place.version, [replica]))
            return
        if isinstance(outcome, QueueFull):
            # Another coordinator was faster. Its host tells all of us the same moment.
            outcome.retry_after = replica.send_away()
        elif isinstance(outcome, NotServing) and outcome.retry_after is None:
            outcome.retry_after = NOT_SERVING_RETRY_SECONDS
        self.give_up(outcome)

    def _may_go_again(self, outcome: DemitasseError, link: Link) -> bool:
        """Whether the host was lost, and a second attempt does no harm."""
        if isinstance(outcome, Draining):  # nothing was begun
            return True
        return _is_lost(outcome, link) and self._again.permits(self.place)

    def _count(self, code: str) -> None:
        count_answer(self.place.model, self.place.version, code)

    def close(self) -> None:
        """Gives the place back. What is still in flight is called off."""
        replica, self._replica = self._replica, None
        if replica is None:
            return
        # An error that it was told leads back here, and to the memory.
        self._settle = self._asked = None
        if self._lost is not None:
            self._again.leave(self)
        if self._link is not None:
            self._link.cancel(self._id)
        replica.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_lost(outcome: DemitasseError, link: Link) -> bool:
    """Whether nobody knows what has become of it."""
    return isinstance(outcome, NotServing) and bool(link.ending)


def _was_not_begun(outcome: DemitasseError, link: Link) -> bool:
    """Whether it was refused by a host that is there."""
    return isinstance(outcome, (QueueFull, Draining, NotServing)) and not link.ending
