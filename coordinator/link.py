"""A coordinator's end of a link: predictions out, answers back, in any order.

One connection to one host. Knows frames and futures; which host to ask, and
whether there is room, is `fleet`'s business. Nobody waits here without an end:
when the connection is lost, everything in flight fails at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from coordinator.errors import (
    DeadlineExceeded,
    DemitasseError,
    NotServing,
    PayloadTooLarge,
    from_wire,
)
from wire.errors import WireError
from wire.frames import MAX_EXAMPLE_BYTES, MAX_HEAD_BYTES, UPGRADE_TOKEN, FrameReader
from wire.messages import (
    Cancel,
    Drain,
    Failure,
    Hello,
    Message,
    Predict,
    Ready,
    Refusal,
    Result,
    Status,
    Tune,
    Tuned,
    Tuning,
    decode,
)
from wire.tensor import Buffer, Tensor

_UPGRADE = (
    f"GET /link HTTP/1.1\r\nHost: minion\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE_TOKEN}\r\n\r\n"
).encode()
_SWITCHED = b"HTTP/1.1 101 "
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 8192
CONNECT_TIMEOUT_SECONDS = 5.0
#: A host that leaves this much unread is stuck. Some ten photos of 4 megapixels.
MAX_UNREAD_BYTES = 128 * 2**20


class Link(asyncio.Protocol):
    """One open connection; `open_link` makes them."""

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.status: Status | None = None
        self.stuck = False
        """The host leaves unread what is sent to it."""
        self._name = name
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._head: bytes | None = b""  # of the answer to the upgrade, until it is complete
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._outgoing: list[Buffer] = []

    def predict(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        timeout_seconds: float | None,
    ) -> tuple[int, asyncio.Future[Result]]:
        """Sends one example; the future gives its Result, or raises a DemitasseError.

        Raises:
            NotServing: the connection is lost.
            PayloadTooLarge: more than a host takes.
        """
        id = self._next_id()
        buffers = Predict(id, inputs, timeout_seconds, parameters).encode()
        if len(buffers[0]) > MAX_HEAD_BYTES or sum(map(len, buffers)) > MAX_EXAMPLE_BYTES:
            raise PayloadTooLarge("as numbers in memory, the example is larger than a minion takes")
        return id, self._ask(id, buffers)

    def cancel(self, id: int) -> None:
        """Nobody waits for this one any more."""
        if self._waiting.pop(id, None) is not None:
            self._send(Cancel(id).encode())

    def expire(self, id: int) -> None:
        """The deadline of this one has passed: whoever waits is told, and the host too."""
        future = self._waiting.get(id)
        if future is not None and not future.done():
            future.set_exception(DeadlineExceeded())
            self.cancel(id)

    def tune(self, tuning: Tuning) -> asyncio.Future[Tuning]:
        """Asks for new numbers; the future gives those in force. Raises NotServing."""
        id = self._next_id()
        return self._ask(id, Tune(id, tuning).encode())

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _ask(self, id: int, buffers: Sequence[Buffer]) -> asyncio.Future[Any]:
        if self.closed.done():
            raise NotServing("the connection to the minion is lost")
        future = self._waiting[id] = self._loop.create_future()
        self._send(buffers)
        return future

    def _send(self, buffers: Sequence[Buffer]) -> None:
        """Soon, together with what else is sent in this turn of the loop: one write for all."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += buffers

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        assert self._transport is not None
        if outgoing and not self._transport.is_closing():
            self._transport.writelines(outgoing)

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        self._transport.write(_UPGRADE)

    def pause_writing(self) -> None:
        self.stuck = True

    def resume_writing(self) -> None:
        self.stuck = False

    def data_received(self, data: bytes) -> None:
        try:
            if self._head is not None:
                data = self._upgraded(data)
            for frame in self._reader.feed(data):
                self._received(decode(frame))
        except WireError as error:
            self._fail(f"the minion broke the protocol: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection to the minion was lost")
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, detail: str) -> None:
        """Everything in flight fails, each with an error of its own, since each raises it."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(NotServing(detail))
        if not self.ready.done():
            self.ready.set_exception(NotServing(detail))
            self.ready.exception()  # whoever was opening the link may have given up already

    def _upgraded(self, data: bytes) -> bytes:
        """What follows the answer's head; nothing while that is incomplete."""
        assert self._head is not None
        head, end, rest = (self._head + data).partition(_HEAD_END)
        if not end:
            self._head = head
            if len(head) > _MAX_HEAD_BYTES:
                raise WireError("the answer to the upgrade has no end")
            return b""
        if not head.startswith(_SWITCHED):
            raise WireError("the minion refused the upgrade")
        self._head = None
        self._send(Hello(self._name).encode())
        return rest

    def _received(self, message: Message) -> None:
        if isinstance(message, Result):
            self._settle(message.id, message)
        elif isinstance(message, Failure):
            self._refuse(
                message.id,
                from_wire(message.code, message.detail, invalid_input=message.invalid_input),
            )
        elif isinstance(message, Refusal):
            retry_after = message.retry_after_seconds or None
            self._refuse(message.id, from_wire(message.code, message.detail, retry_after))
        elif isinstance(message, Status):
            self.status = message
        elif isinstance(message, Tuned):
            self._settle(message.id, message.tuning)
        elif isinstance(message, Ready) and not self.ready.done():
            self.ready.set_result(message)
        elif not isinstance(message, Drain):  # which the status before it said already
            raise WireError(f"{type(message).__name__} is not for a coordinator")

    def _settle(self, id: int, value: object) -> None:
        future = self._waiting.pop(id, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _refuse(self, id: int, error: DemitasseError) -> None:
        future = self._waiting.pop(id, None)
        if future is not None and not future.done():
            future.set_exception(error)


async def open_link(
    address: str, name: str, *, within_seconds: float = CONNECT_TIMEOUT_SECONDS
) -> Link:
    """Connects, upgrades, and waits until the host said who it is.

    Args:
        address: `unix:/path` or `tcp:host:port`.

    Raises:
        OSError: nobody listens there.
        NotServing: somebody does, and it is not a minion.
        TimeoutError: it did not answer in time.
    """
    loop = asyncio.get_running_loop()
    scheme, _, place = address.partition(":")
    async with asyncio.timeout(within_seconds):
        if scheme == "unix":
            _, link = await loop.create_unix_connection(lambda: Link(name), place)
        else:
            host, _, port = place.rpartition(":")
            _, link = await loop.create_connection(lambda: Link(name), host, int(port))
        try:
            await link.ready
        except BaseException:
            link.close()
            raise
    return link
