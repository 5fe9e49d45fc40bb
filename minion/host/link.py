"""A host's end of a link: frames from one coordinator in, frames out.

Many requests are in flight on one connection and are answered in any order.
What arrives in one read is submitted before the lane decides on a batch, and
what leaves in one turn of the event loop is one write (uvloop gathers it). A
coordinator that is gone, or silent for too long, has nobody waiting behind it: its
examples are abandoned.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import cast

from links.outlet import Outlet
from minion.host.examples import Answered, Example, Outcome, Refused
from minion.host.lane import Lane
from minion.host.shared import open_shared
from wire.credentials import same
from wire.errors import Code, WireError
from wire.examples import Cancel, Failure, Predict, Refusal, Result
from wire.frames import MAX_EXAMPLE_BYTES, MAX_HEAD_BYTES, Frame, FrameReader
from wire.greetings import Hello, Ready
from wire.heads import Kind
from wire.heartbeats import Heartbeat
from wire.messages import Message, decode
from wire.parameters import UnfitParameters
from wire.status import Drain, Promise, Status
from wire.tensor import made
from wire.tuning import Tune, Tuned

log = logging.getLogger("demitasse.host.link")

#: News is pushed at most this often: what other coordinators' examples leave of the room, and
#: what batches have cost.
STATUS_INTERVAL_SECONDS = 0.02
#: A learned cost that moved by less is not worth a message.
COST_CHANGE = 0.1
#: Answers that a coordinator has not read yet; past it, nothing more is read from it.
#: Some dozens of decoded photos: what is in flight anyhow does not make it stutter.
MAX_UNREAD_BYTES = 16 * 2**20
#: Of a frame from somebody who has not said Hello yet, and may be anybody; and how long that is
#: waited for, however often such a peer says something.
MAX_STRANGE_BYTES = 64 * 1024
GREETING_SECONDS = 3.0


class Links(set["HostLink"]):
    """The coordinators that are connected to this host."""


class HostLink(asyncio.Protocol):
    """One coordinator's connection."""

    def __init__(
        self,
        lane: Lane,
        ready: Ready,
        links: Links,
        on_lost: Callable[[Exception | None], None],
        proof: str | None = None,
    ) -> None:
        """
        Args:
            proof: what its Hello has to prove; None: the kernel has said who it is.
        """
        self._lane = lane
        self._ready = ready
        self._links = links
        self._on_lost = on_lost
        self._proof = proof
        self._reader = FrameReader(
            max_head_bytes=MAX_STRANGE_BYTES, max_body_bytes=MAX_STRANGE_BYTES
        )
        self._memory: memoryview | None = None
        self._greeted = False
        self._transport: asyncio.Transport | None = None
        self._examples: dict[int, Example] = {}
        self._pushed: Status | None = None
        self._pushed_try: float | None = None
        self._push_timer: asyncio.TimerHandle | None = None
        self._pushed_at = -math.inf
        """When there was last a look for news of any kind, on the loop's clock."""
        self._cost_is_news = False
        self._look: asyncio.Handle | None = None
        self._outlet = Outlet(self._silent)
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        self._outlet.open(self._transport)
        self._links.add(self)
        self._lane.on_change.append(self.push_status)
        self._lane.on_batch.append(self._learned)
        self._lane.on_room.append(self._look_soon)
        loop = asyncio.get_running_loop()
        self._greeting = loop.call_later(GREETING_SECONDS, self._expect_to_be_greeted)

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self)
        self._lane.on_change.remove(self.push_status)
        self._lane.on_batch.remove(self._learned)
        self._lane.on_room.remove(self._look_soon)
        self._cancel_push()
        self._outlet.end()
        self._greeting.cancel()
        for example in self._examples.values():
            self._lane.abandon(example)
        self._examples.clear()
        self._memory = None  # what is in flight keeps it for as long as it needs
        for link in self._links:
            link._push_soon()
        self._on_lost(exc)

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._outlet.pulse.heard = True
        try:
            for frame in self._reader.feed(data):
                if not self._greeted and frame.kind != Kind.HELLO:
                    raise WireError(f"a frame of kind {frame.kind} before Hello")
                self._take(frame)
        except WireError as error:
            log.warning("link with %s broke the protocol: %s", self.peer or "somebody", error)
            self._outlet.abort()

    def _take(self, frame: Frame) -> None:
        """What a frame says is done. Unfit parameters are a caller's: refused, and nothing ends."""
        try:
            message = decode(frame, self._memory)
        except UnfitParameters as error:
            self._expect_unused(frame.id)
            self._send(Refusal(frame.id, Code.INVALID_INPUT.value, str(error), 0.0))
        else:
            self._received(message)

    def _expect_to_be_greeted(self) -> None:
        if not self._greeted:
            log.warning("a link was closed on which nobody said Hello")
            self._outlet.abort()

    def close(self) -> None:
        self._outlet.close()

    def push_status(self) -> None:
        """Tells the coordinator how much room there is, if it does not know yet."""
        self._cancel_push()
        self._pushed_at = asyncio.get_running_loop().time()
        self._cost_is_news = False
        if not self._greeted:
            return
        lane = self._lane
        status = Status(
            ready=lane.ready,
            draining=lane.draining,
            queue_limit=lane.bouncer.limit,
            others=self._others,
            seconds_per_example=lane.seconds_per_example,
            seconds_alone=lane.cost.seconds_alone(),
            workers=lane.workers,
            coordinators=len(self._links),
            promise=_promise(lane),
            batch_limit=lane.largest_batch if lane.lacks_memory else None,
            seconds_until_try=lane.keeper.seconds_until_try,
        )
        before, next_try = self._pushed, lane.keeper.next_try
        if (
            before is not None
            and next_try == self._pushed_try
            and not _worth_a_message(before, status)
        ):
            return
        self._pushed, self._pushed_try = status, next_try
        self._send(status)
        if status.draining and (before is None or not before.draining):
            self._send(Drain())

    def _received(self, message: Message) -> None:
        if isinstance(message, Predict):
            self._predict(message)
        elif isinstance(message, Cancel):
            self._cancel(message.id)
        elif isinstance(message, Tune):
            self._send(Tuned(message.id, self._lane.tune(message.tuning)))
        elif isinstance(message, Hello):
            self._greet(message)
        elif not isinstance(message, Heartbeat):
            raise WireError(f"{type(message).__name__} is not for a host")

    def _greet(self, hello: Hello) -> None:
        if self._greeted:
            raise WireError("Hello was said before")
        if self._proof is not None and not same(hello.proof, self._proof):
            raise WireError("whoever calls itself a coordinator does not know the secret")
        self.peer, self._greeted = hello.name, True
        self._reader.limit(MAX_HEAD_BYTES, MAX_EXAMPLE_BYTES)
        if hello.memory is not None:
            assert self._transport is not None
            self._memory = open_shared(self._transport.get_extra_info("socket"), hello.memory)
        self._send(self._ready._replace(shares=self._memory is not None))
        self._outlet.watch()
        self.push_status()

    def _predict(self, predict: Predict) -> None:
        self._expect_unused(predict.id)
        try:
            self._examples[predict.id] = self._lane.submit(
                predict.inputs,
                predict.parameters,
                predict.timeout_seconds,
                self._settle(predict.id),
                predict.flow,
            )
        except Refused as refused:
            self._send(
                Refusal(
                    predict.id,
                    refused.code.value,
                    refused.detail,
                    refused.retry_after_seconds,
                    refused.numbers,
                )
            )

    def _expect_unused(self, id: int) -> None:
        if id in self._examples:
            raise WireError(f"id {id} is in flight already")

    def _settle(self, id: int) -> Callable[[Outcome], None]:
        def settle(outcome: Outcome) -> None:
            del self._examples[id]
            if isinstance(outcome, Answered):
                self._send(made(Result, (id, *outcome)))
            else:
                self._send(Failure(id, *outcome))
            self._look_soon()

        return settle

    def _cancel(self, id: int) -> None:
        example = self._examples.pop(id, None)
        if example is not None:
            self._lane.abandon(example)
            self._look_soon()

    @property
    def _others(self) -> int:
        """Those in the lane for whom nobody waits at the other end of this link."""
        return self._lane.bouncer.occupied - len(self._examples)

    def _learned(self, size: int, seconds: float) -> None:
        self._cost_is_news = True
        self._look_soon()

    def _look_soon(self) -> None:
        """In this turn of the loop, when all that belongs together has happened."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_soon(self._look_for_news)

    def _look_for_news(self) -> None:
        """A cost goes with the answers that it is of, unless there was news just now; all else is
        told soon, and together. Mostly there is none: a timer would wake this process for itself.
        """
        self._look = None
        if self._pushed is None:
            return  # nobody has said Hello
        waited = asyncio.get_running_loop().time() - self._pushed_at
        if self._cost_is_news and waited >= STATUS_INTERVAL_SECONDS:
            self.push_status()
        elif self._cost_is_news or self._others != self._pushed.others:
            self._push_soon()

    def _push_soon(self) -> None:
        if self._push_timer is None:
            loop = asyncio.get_running_loop()
            self._push_timer = loop.call_later(STATUS_INTERVAL_SECONDS, self.push_status)

    def _cancel_push(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._push_timer is not None:
            self._push_timer.cancel()
            self._push_timer = None

    def _silent(self) -> None:
        log.warning("link with %s has fallen silent", self.peer or "somebody")

    def _send(self, message: Result | Failure | Refusal | Status | Ready | Tuned | Drain) -> None:
        self._outlet.send(message.encode())


def _worth_a_message(before: Status, now: Status) -> bool:
    """What was learned differs a little with every batch."""
    if _steady(before) != _steady(now):
        return True
    promised, promises = before.promise, now.promise
    if promised is None or promises is None or promised.seconds != promises.seconds:
        return promised != promises or _moved(before, now)
    return _moved(before, now)


def _steady(status: Status) -> Status:
    return status._replace(
        seconds_per_example=0.0, seconds_alone=0.0, promise=None, seconds_until_try=None
    )


def _moved(before: Status, now: Status) -> bool:
    return any(
        abs(new - old) > COST_CHANGE * old
        for old, new in (
            (before.seconds_per_example, now.seconds_per_example),
            (before.seconds_alone, now.seconds_alone),
        )
    )


def _promise(lane: Lane) -> Promise | None:
    seconds = lane.tuning.promise_seconds
    if seconds is None:
        return None
    basis = lane.basis
    return Promise(
        seconds,
        basis.workers,
        basis.batch_size,
        basis.alone_seconds,
        basis.batch_seconds,
        basis.deviation,
        basis.uncertainty,
        basis.delay_seconds,
        lane.stands,
    )
