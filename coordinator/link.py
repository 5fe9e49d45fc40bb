"""A coordinator's end of a link: predictions out, answers back, in any order.

One connection to one host. Knows frames, the memory that both sides see, and
whether the host is still there; who waits for which answer is kept in `outstanding`,
and which host to ask, and whether there is room, is `fleet`'s business. When the
connection is lost, or the host silent for too long, everything in flight fails at once.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

from coordinator.errors import DemitasseError, NotServing, PayloadTooLarge
from coordinator.outstanding import Outstanding, Settle, Waiting, settling
from coordinator.parcels import MIN_PARCEL_BYTES, Parcels
from coordinator.upgrade import Upgrade
from coordinator.wire_codes import from_wire
from links.outlet import Outlet
from wire.bodies import body_of, padded
from wire.credentials import Credentials, is_our_own
from wire.errors import WireError
from wire.examples import Cancel, Failure, Predict, Refusal, Result
from wire.flows import ANYBODY, Flow
from wire.frames import MAX_EXAMPLE_BYTES, MAX_HEAD_BYTES, FrameReader, fresh
from wire.greetings import Hello, Memory, Ready
from wire.heartbeats import Heartbeat
from wire.messages import Message, decode
from wire.status import Drain, Status
from wire.tensor import Tensor, made
from wire.tuning import Tune, Tuned, Tuning

#: A host that is there answers in milliseconds; of one that came back nobody waits for long.
CONNECT_TIMEOUT_SECONDS = 3.0
#: What is read by whichever link reads now; what it keeps is copied out.
_SCRATCH = memoryview(bytearray(64 * 1024))
_LOST = "the connection to the minion is lost"
#: A host that leaves this much unread is stuck. Some ten photos of 4 megapixels.
MAX_UNREAD_BYTES = 128 * 2**20


class Link(asyncio.BufferedProtocol):
    """One open connection; `open_link` makes them."""

    def __init__(self, name: str, parcels: Parcels | None, upgrade: Upgrade) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.status: Status | None = None
        self.told_at = 0.0
        """When that came, on the monotonic clock."""
        self.stuck = False
        """The host leaves unread what is sent to it, or is gone."""
        self.ending = ""
        """Why it is of no use any more; empty while it is."""
        self._name = name
        self._parcels = parcels
        self._loop = loop
        self._outlet = Outlet(self._silent)
        self._reader = FrameReader(allocate=self.memory)
        self._upgrade: Upgrade | None = upgrade  # until it is answered
        self._outstanding = Outstanding(self._call_off)
        self._last_id = 0

    def memory(self, size_bytes: int) -> memoryview:
        """Where the one input of a `predict` may be received: in sight of the host, if possible."""
        if size_bytes < MIN_PARCEL_BYTES or self._parcels is None or not self.shares:
            return fresh(size_bytes)
        return self._parcels.take(size_bytes) or fresh(size_bytes)

    @property
    def shares(self) -> bool:
        """Whether the host sees this coordinator's memory."""
        return self.ready.done() and self.ready.result().shares

    def predict(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float,
        settle: Settle,
        flow: Flow = ANYBODY,
    ) -> int:
        """Sends one example.

        Args:
            deadline: on the monotonic clock; carried to the host as what is left of it.
            settle: called once with its Result or a DemitasseError, later than this
                returns, unless it is cancelled before.
            flow: whose turn it counts against in the host's queue.

        Returns:
            The id to cancel it by.

        Raises:
            NotServing: the connection is lost.
            PayloadTooLarge: more than a host takes.
        """
        if self.ending:
            raise NotServing(_LOST)
        id = self._last_id = self._last_id + 1
        left = max(deadline - time.monotonic(), 0.0)
        size = 0
        for tensor in inputs.values():
            size += padded(len(tensor.data))
        if size > MAX_EXAMPLE_BYTES:
            raise _too_large()
        kept, place = self._placed(inputs, size) if size >= MIN_PARCEL_BYTES else (None, None)
        buffers = made(Predict, (id, inputs, left, parameters, place, flow)).encode()
        if len(buffers[0]) > MAX_HEAD_BYTES:
            raise _too_large()
        self._outstanding.expect(id, Waiting(settle, deadline, kept))
        self._outlet.send(buffers)
        return id

    def _placed(self, inputs: Mapping[str, Tensor], size_bytes: int) -> tuple[object, int | None]:
        """What keeps the inputs where the host sees them, and the place; None: they travel."""
        if self._parcels is None or not self.shares:
            return None, None
        if len(inputs) == 1:
            (tensor,) = inputs.values()
            place = self._parcels.place_of(tensor.data)
            if place is not None:
                return tensor, place
        memory = self._parcels.take(size_bytes)
        if memory is None:
            return None, None
        start = 0
        for piece in body_of(inputs.values()):
            memory[start : start + len(piece)] = piece
            start += len(piece)
        return memory, self._parcels.place_of(memory)

    def cancel(self, id: int) -> None:
        """Nobody waits for this one any more."""
        if self._outstanding.forget(id):
            self._call_off(id)

    def _call_off(self, id: int) -> None:
        self._outlet.send(Cancel(id).encode())

    async def tune(self, tuning: Tuning) -> Tuning:
        """Asks for new numbers; returns those in force. Raises NotServing."""
        id = self._last_id = self._last_id + 1
        answered: asyncio.Future[Tuning | DemitasseError] = self._loop.create_future()
        if self.ending:
            raise NotServing(_LOST)
        self._outstanding.expect(id, Waiting(settling(answered), math.inf))
        self._outlet.send(Tune(id, tuning).encode())
        try:
            outcome = await answered
        finally:
            self._outstanding.forget(id)  # whoever asked may have stopped waiting
        if isinstance(outcome, DemitasseError):
            raise outcome
        return outcome

    def close(self) -> None:
        self._outlet.close()

    def _silent(self) -> None:
        self._fail("the minion has fallen silent")

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        opened.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        self._outlet.open(opened)
        connection: socket.socket = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX and not is_our_own(connection):
            self._fail("who listens there is another user than this process")
            self._outlet.abort()
            return
        assert self._upgrade is not None
        opened.write(self._upgrade.request)

    def pause_writing(self) -> None:
        self.stuck = True

    def resume_writing(self) -> None:
        self.stuck = bool(self.ending)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.place or _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        self._outlet.pulse.heard = True
        try:
            if self._reader.place is not None:
                frames = self._reader.filled(nbytes)
            else:
                data = bytes(_SCRATCH[:nbytes])
                frames = self._reader.feed(data if self._upgrade is None else self._switch(data))
            for frame in frames:
                self._received(decode(frame))
        except WireError as error:
            self._fail(f"the minion broke the protocol: {error}")
            self._outlet.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection to the minion was lost")
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, detail: str) -> None:
        """Nothing more is sent or expected, and everything in flight fails."""
        self.stuck, self.ending = True, self.ending or detail
        self._outstanding.fail(detail)
        self._outlet.end()
        if not self.ready.done():
            self.ready.set_exception(NotServing(detail))
            self.ready.exception()  # whoever was opening the link may have given up already

    def _switch(self, data: bytes) -> bytes:
        """Goes on with the upgrade; what follows its answer."""
        assert self._upgrade is not None
        rest = self._upgrade.feed(data)
        if rest is None:
            return b""
        proof, self._upgrade = self._upgrade.proof, None
        self._outlet.send(Hello(self._name, self._offer(), proof).encode())
        return rest

    def _offer(self) -> Memory | None:
        parcels = self._parcels
        return None if parcels is None else Memory(parcels.descriptor, parcels.size_bytes)

    def _received(self, message: Message) -> None:
        if isinstance(message, Result):
            self._outstanding.settle(message.id, message)
        elif isinstance(message, Failure):
            self._outstanding.settle(
                message.id,
                from_wire(message.code, message.detail, invalid_input=message.invalid_input),
            )
        elif isinstance(message, Refusal):
            retry_after = message.retry_after_seconds or None
            refused = from_wire(message.code, message.detail, retry_after, message.numbers)
            self._outstanding.settle(message.id, refused)
        elif isinstance(message, Status):
            self.status, self.told_at = message, time.monotonic()
        elif isinstance(message, Tuned):
            self._outstanding.settle(message.id, message.tuning)
        elif isinstance(message, Ready) and not self.ready.done():
            self.ready.set_result(message)
            self._outlet.watch()
        elif not isinstance(message, (Heartbeat, Drain)):  # which the status before it said already
            raise WireError(f"{type(message).__name__} is not for a coordinator")


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge("as numbers in memory, the example is larger than a minion takes")


#: Enough for hosts on this machine.
NOBODYS = Credentials()


async def open_link(
    address: str,
    name: str,
    parcels: Parcels | None = None,
    credentials: Credentials = NOBODYS,
    *,
    within_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> Link:
    """Connects, upgrades, and waits until the host said who it is.

    Args:
        address: `unix:/path` or `tcp:host:port`.
        parcels: memory to share with a host on this machine.
        credentials: for hosts on others.

    Raises:
        OSError: nobody listens there.
        NotServing: somebody does, and it is not a minion, or none that may be trusted.
        TimeoutError: it did not answer in time.
    """
    loop = asyncio.get_running_loop()
    scheme, _, place = address.partition(":")
    async with asyncio.timeout(within_seconds):
        if scheme == "unix":
            upgrade = Upgrade(None)
            _, link = await loop.create_unix_connection(lambda: Link(name, parcels, upgrade), place)
        else:
            if credentials.secret is None:
                raise NotServing("links over TCP need a secret: see link_secret_file")
            upgrade = Upgrade(credentials.secret)
            host, _, port = place.rpartition(":")
            _, link = await loop.create_connection(
                lambda: Link(name, None, upgrade), host, int(port), ssl=credentials.tls
            )
        try:
            await link.ready
        except BaseException:
            link.close()
            raise
    return link
