"""A real aiohttp server with the edge's middleware, and a socket to talk to it byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

from coordinator.http.body import PayloadLimits, defer_continue
from coordinator.http.doors import Doors
from coordinator.http.middleware import problems
from coordinator.http.pace import Patience
from coordinator.http.watched import Watch

LIMITS = PayloadLimits(
    max_body_bytes=4096,
    max_json_bytes=2048,
    max_image_bytes=1024,
    max_images=3,
    max_parts=4,
    body_timeout=30.0,
    body_idle_timeout=20.0,
    min_rate=0.0,
    max_inflated_bytes=3072,
)
PATIENCE = Patience(
    keepalive=75.0,
    head=5.0,
    body=60.0,
    body_idle=5.0,
    answer=8.0,
    lingering=2.0,
    least_per_second=0.0,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    path: str = "/x",
    head_seconds: float = PATIENCE.head,
    make: Callable[..., Any] | None = None,
) -> AsyncIterator[int]:
    """The port of a server that answers POST on `path` with this handler.

    Args:
        make: in place of aiohttp's way of making a request.
    """
    app = web.Application(middlewares=[problems])
    app.router.add_post(path, handler, expect_handler=defer_continue)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    if make is not None:
        assert runner.server is not None
        runner.server.request_factory = make
    watch = Watch(runner, PATIENCE._replace(head=head_seconds), Doors(100, 100))
    listener = await asyncio.get_running_loop().create_server(watch.protocol, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await watch.close()


class Caller:
    """One connection, on which bytes are written and replies read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def reply(self) -> Reply:
        status, headers = await self.head()
        return Reply(
            status, headers, await self._reader.readexactly(int(headers["content-length"]))
        )

    async def skip(self, size_bytes: int) -> None:
        """Reads so much of a body that is large."""
        await self._reader.readexactly(size_bytes)

    def hang_up(self) -> None:
        self._writer.close()

    async def closed(self) -> bool:
        return await self._reader.read(1) == b""


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


def post(
    body: bytes = b"",
    content_type: str | None = "application/json",
    *,
    query: str = "",
    **headers: str,
) -> bytes:
    """A POST to /x as bytes. In the names of headers, `_` stands for `-`."""
    lines = [f"POST /x{query} HTTP/1.1", "Host: edge"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if not {"Content_Length", "Transfer_Encoding"} & headers.keys():
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def exchange(handler: Handler, request: bytes) -> Reply:
    """What one server answers to one request."""
    async with serving(handler) as port, calling(port) as caller:
        await caller.send(request)
        return await caller.reply()
