"""A body's bytes, under limits, from the moment somebody wants them.

Nothing is read, and no `100 Continue` sent, before `read_body` is called: the
handler has taken its ticket by then. Sizes are counted as bytes arrive, so an
announced length costs nothing. Knows no format: that is `payloads`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import StreamReader, hdrs, web

from coordinator.errors import (
    BodyTimeout,
    EmptyBody,
    InvalidEncodedBody,
    PayloadTooLarge,
    UnsupportedContentEncoding,
)

#: What an HTTP server has to be told so that all of this holds: aiohttp's parser would otherwise
#: undo a Content-Encoding before anybody was admitted, answer some itself in plain text, and pass
#: unknown ones through as they came.
SERVER_OPTIONS: dict[str, Any] = {"auto_decompress": False}


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
    """Seconds in which at least something of it has to arrive."""


async def defer_continue(request: web.Request) -> None:
    """The `expect_handler` of every route: answer later, in `read_body`.

    aiohttp's own sends `100 Continue` before the handler runs, and so invites
    an upload that may then be refused; other expectations it refuses itself, in
    plain text, where the middleware has a problem for them.
    """


async def read_body(
    request: web.Request, max_bytes: int, max_seconds: float, idle_seconds: float
) -> bytes:
    """All of the body.

    Args:
        max_bytes: above this many, announced or arrived, it is refused.
        max_seconds: for the whole of it, from the first byte read.
        idle_seconds: in which at least something of it has to arrive.

    Raises:
        PayloadTooLarge, EmptyBody, BodyTimeout, InvalidEncodedBody,
        UnsupportedContentEncoding.
    """
    headers = request.headers
    if hdrs.CONTENT_ENCODING in headers:
        _check_encodings(headers.getall(hdrs.CONTENT_ENCODING))
    announced = request.content_length
    if announced is not None and announced > max_bytes:
        raise PayloadTooLarge(f"the body has {announced} bytes, at most {max_bytes} are accepted")
    content = request.content
    try:
        if content.is_eof():
            body = content.read_nowait()  # a small body came with its head: nothing to wait for
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        else:
            await _send_continue(request)
            async with asyncio.timeout(max_seconds):
                body = await _collect(content, max_bytes, idle_seconds)
    except TimeoutError as error:
        raise BodyTimeout(f"the body took longer than {max_seconds:g} s to arrive") from error
    except web.RequestPayloadError as error:
        raise InvalidEncodedBody(f"the body cannot be decoded: {error}") from error
    if not body:
        raise EmptyBody
    return body


async def _collect(content: StreamReader, max_bytes: int, idle_seconds: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(None) as idle:
            while chunk := await _next(content, idle, idle_seconds):
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeout(f"nothing of the body arrived for {idle_seconds:g} s") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _next(content: StreamReader, idle: asyncio.Timeout, idle_seconds: float) -> bytes:
    idle.reschedule(asyncio.get_running_loop().time() + idle_seconds)
    return await content.readany()


async def _send_continue(request: web.Request) -> None:
    # RFC 9110, 10.1.1: an HTTP/1.0 client is not told.
    if hdrs.EXPECT in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # these bytes are no part of the answer


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body has more than the {max_bytes} bytes that are accepted")


def _check_encodings(values: list[str]) -> None:
    """Photos are compressed already, and a body that grows while it is read invites bombs."""
    if [value.strip().lower() for value in values] != ["identity"]:
        raise UnsupportedContentEncoding(
            f"Content-Encoding {', '.join(values)!r} is not accepted; send the bytes themselves",
            field="Content-Encoding",
            members={"accepted": ["identity"]},
        )
