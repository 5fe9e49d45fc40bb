"""A body's bytes, under limits, from the moment somebody wants them.

Nothing is read, and no `100 Continue` sent, before `read_body` is called: the
handler has taken its ticket by then. Sizes are counted as bytes arrive, so an
announced length costs nothing, except where a body has a place: that is taken by
whoever has a ticket, from memory that is bounded, for as long as the body may take.
Knows no format: that is `payloads`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

from aiohttp import hdrs, web

from coordinator.errors import (
    BodyTimeout,
    EmptyBody,
    InvalidEncodedBody,
    PayloadTooLarge,
    UnsupportedContentEncoding,
)
from coordinator.http.inflate import WINDOW_BITS, inflate
from coordinator.http.pace import Pace
from coordinator.http.watched import Watched
from wire.quoting import quoted
from wire.tensor import Buffer

Place = Callable[[int], memoryview]
"""Makes memory of so many bytes."""

#: Of what chunks cost beside their contents: so much, and an eighth of the contents.
_FRAMING_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """How much of a body is accepted; the values come from the configuration."""

    max_body_bytes: int
    max_json_bytes: int
    """Of a body in which a tensor's numbers stand one by one."""
    max_image_bytes: int
    max_images: int
    max_parts: int
    body_timeout: float
    """Seconds that a body may take from the first byte read to the last."""
    body_idle_timeout: float
    """Seconds in which at least something of it has to arrive, and over which it keeps its pace."""
    min_rate: float
    """Bytes per second, at which it has to arrive at least."""
    max_inflated_bytes: int
    """Of a body that was compressed."""


async def defer_continue(request: web.Request) -> None:
    """The `expect_handler` of every route: answer later, in `read_body`.

    aiohttp's own sends `100 Continue` before the handler runs, and so invites
    an upload that may then be refused; other expectations it refuses itself, in
    plain text, where the middleware has a problem for them.
    """


class _Chunks:
    """Where a body goes of which nobody knows how long it will be."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def whole(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Placed:
    """Where a body goes whose length was announced."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._filled = 0

    def add(self, chunk: bytes) -> None:
        self._memory[self._filled : self._filled + len(chunk)] = chunk
        self._filled += len(chunk)

    def whole(self) -> memoryview:
        return self._memory[: self._filled]


@overload
async def read_body(request: web.Request, max_bytes: int, limits: PayloadLimits) -> bytes: ...


@overload
async def read_body(
    request: web.Request, max_bytes: int, limits: PayloadLimits, place: Place
) -> Buffer: ...


async def read_body(
    request: web.Request, max_bytes: int, limits: PayloadLimits, place: Place | None = None
) -> Buffer:
    """All of the body, inflated where it was compressed.

    Args:
        max_bytes: above this many, announced or arrived, or inflated, it is refused.
        limits: on the time that it may take, and on what a compressed one may become.
        place: where a body is received that says how long it is, and has not arrived yet.

    Raises:
        PayloadTooLarge, EmptyBody, BodyTimeout, InvalidEncodedBody,
        UnsupportedContentEncoding.
    """
    encoding = _encoding(request)
    announced = request.content_length
    if announced is not None and announced > max_bytes:
        raise PayloadTooLarge(f"the body has {announced} bytes, at most {max_bytes} are accepted")
    content = request.content
    try:
        if content.is_eof():
            body: Buffer = (
                content.read_nowait()
            )  # a small body came with its head: nothing to wait for
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        else:
            await _send_continue(request)
            into = _where(announced, encoding, place)
            async with asyncio.timeout(limits.body_timeout):
                await _collect(request, into, max_bytes, limits)
            body = into.whole()
    except TimeoutError as error:
        raise BodyTimeout(
            f"the body took longer than {limits.body_timeout:g} s to arrive"
        ) from error
    except web.RequestPayloadError as error:
        raise InvalidEncodedBody(
            "the body is not chunked as RFC 9112, section 7.1, has it"
        ) from error
    if body and encoding is not None:
        most = min(max_bytes, limits.max_inflated_bytes)
        body = await asyncio.to_thread(inflate, body, encoding, most)
    if not body:
        raise EmptyBody
    return body


def _where(announced: int | None, encoding: str | None, place: Place | None) -> _Chunks | _Placed:
    if announced is None or encoding is not None or place is None:
        return _Chunks()
    return _Placed(place(announced))


async def _collect(
    request: web.Request, into: _Chunks | _Placed, max_bytes: int, limits: PayloadLimits
) -> None:
    size, most, content = 0, _most_on_the_wire(request), request.content
    announced = request.content_length
    now = asyncio.get_running_loop().time
    pace = Pace(limits.min_rate, limits.body_idle_timeout, now())
    if announced is not None:
        pace.begin(now(), 0, announced)
    try:
        async with asyncio.timeout(None) as idle:
            while True:
                idle.reschedule(now() + limits.body_idle_timeout)
                chunk = await content.readany()
                if not chunk:
                    break
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                missing = math.inf if announced is None else announced - size
                if not pace.kept(now(), size, missing):
                    raise BodyTimeout(f"fewer than {limits.min_rate:g} bytes/s arrived")
                if most(size):
                    raise InvalidEncodedBody("its chunks are too small")
                into.add(chunk)
    except TimeoutError:
        raise BodyTimeout(
            f"nothing of the body arrived for {limits.body_idle_timeout:g} s"
        ) from None


def _most_on_the_wire(request: web.Request) -> Callable[[int], bool]:
    """Whether so much of a body has taken more of the connection than chunks may.

    A body in chunks of a byte each costs six times its length, and a call for each of them.
    """
    if request.content_length is not None:
        return lambda size: False  # not in chunks
    connection = request.protocol
    if not isinstance(connection, Watched):
        raise TypeError("requests come over watched connections")
    before = connection.received_bytes
    return lambda size: connection.received_bytes - before > _FRAMING_BYTES + size + size // 8


async def _send_continue(request: web.Request) -> None:
    # RFC 9110, 10.1.1: an HTTP/1.0 client is not told.
    if hdrs.EXPECT in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # these bytes are no part of the answer


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body has more than the {max_bytes} bytes that are accepted")


def _encoding(request: web.Request) -> str | None:
    """The one coding that the body is in, where it is in any; None: it is as it came."""
    values = request.headers.getall(hdrs.CONTENT_ENCODING, ())
    named = [value.strip().lower() for value in values]
    if named in ([], ["identity"]):
        return None
    if len(named) == 1 and named[0] in WINDOW_BITS:
        return named[0]
    raise UnsupportedContentEncoding(
        f"Content-Encoding {quoted(', '.join(values))} is not accepted; send the bytes themselves, "
        "or compressed once",
        field="Content-Encoding",
        members={"accepted": ["identity", "gzip", "deflate"]},
    )
