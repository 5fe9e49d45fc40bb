"""Hostile connections, by raw sockets, on both roads: deadlines, counts, and refusals of ours."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from edge import Caller, Reply, calling, post, serving
from stage import PATIENCE_SECONDS, Coordinator, Stage

from coordinator.http.pace import MAX_HEAD_BYTES
from tests.waiting import eventually

#: Where connections of the public port, and of the admin port, are heard of.
PUBLIC_HALF = b"GET /models HTTP/1.1\r\nHost: x\r\nX-Half: "
PLAIN_HALF = b"POST /models/gate/infer HTTP/1.1\r\nHost: x\r\nX-Half: "
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def reply_of(caller: Caller) -> Reply:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await caller.reply()


async def closed(caller: Caller) -> bool:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await caller.closed()


def is_ours(reply: Reply, status: int, code: str) -> bool:
    """A problem document with all that belongs to one."""
    document = reply.json()
    assert (reply.status, document["status"], document["code"]) == (status, status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["server"] == "demitasse"
    assert reply.headers["x-request-id"] == document["request_id"]
    assert "Traceback" not in reply.body.decode()
    return True


def admin_port(coordinator: Coordinator) -> int:
    return coordinator.admin.base_url.port or 0


@asynccontextmanager
async def many(port: int, count: int) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(calling(port)) for _ in range(count)]


# Heads.


@pytest.mark.parametrize("half", [PUBLIC_HALF, PLAIN_HALF, b"G", b"POST /mod", b"\r\n\r\n"])
async def test_half_a_head_is_answered_with_a_408_and_hung_up_on(stage: Stage, half: bytes) -> None:
    coordinator = await stage.coordinator(head_timeout=0.2, lingering_time=0.1)

    async with calling(coordinator.port) as caller:
        await caller.send(half)
        assert is_ours(await reply_of(caller), 408, "head-timeout")
        assert await closed(caller)


async def test_half_a_head_on_the_admin_port_too(stage: Stage) -> None:
    coordinator = await stage.coordinator(head_timeout=0.2)

    async with calling(admin_port(coordinator)) as caller:
        await caller.send(PUBLIC_HALF)
        assert is_ours(await reply_of(caller), 408, "head-timeout")
        assert await closed(caller)


@pytest.mark.parametrize("half", [PUBLIC_HALF, PLAIN_HALF])
async def test_a_head_that_trickles_has_no_more_time_than_one_that_stands_still(
    stage: Stage, half: bytes
) -> None:
    coordinator = await stage.coordinator(head_timeout=0.3, lingering_time=0.1)

    async with calling(coordinator.port) as caller:
        await caller.send(half)
        answer = asyncio.create_task(reply_of(caller))
        while not answer.done():
            await caller.send(b"x")
            await asyncio.sleep(0.02)
        assert is_ours(await answer, 408, "head-timeout")


async def test_the_head_of_a_later_request_has_a_deadline_too(stage: Stage) -> None:
    coordinator = await stage.coordinator(head_timeout=0.2)

    async with calling(coordinator.port) as caller:
        for _ in range(2):
            await caller.send(LIVE)
            assert (await reply_of(caller)).body == b"alive\n"
        await caller.send(PUBLIC_HALF)
        assert is_ours(await reply_of(caller), 408, "head-timeout")


async def test_an_idle_connection_is_not_taken_for_a_slow_head(stage: Stage) -> None:
    coordinator = await stage.coordinator(head_timeout=0.05)

    async with calling(coordinator.port) as caller, calling(coordinator.port) as other:
        await caller.send(LIVE)
        await reply_of(caller)
        await other.send(PUBLIC_HALF)  # two looks later the other is gone, and this one is not
        await reply_of(other)
        await caller.send(LIVE)
        assert (await reply_of(caller)).body == b"alive\n"


BROKEN = {
    "no http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "another version": b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
    "a version that the parser knows": b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
    "an old version": b"GET /livez HTTP/0.9\r\nHost: x\r\n\r\n",
    "a space in a name": b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: x\n\nxx\r\n\r\n",
    "a null": b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "a length and chunks": b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a plain head that is none": b"POST /models/gate/infer HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_head_is_a_problem_of_ours_and_no_error_in_the_log(
    stage: Stage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = await stage.coordinator()

    for port in (coordinator.port, admin_port(coordinator)):
        async with calling(port) as caller:
            await caller.send(BROKEN[name])
            assert is_ours(await reply_of(caller), 400, "bad-request")
            assert await closed(caller)

    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert [each for each in caplog.records if "not a request" in each.message]


@pytest.mark.parametrize(
    "head",
    [
        PUBLIC_HALF + b"x" * 9000 + b"\r\n\r\n",
        PLAIN_HALF + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        PUBLIC_HALF + b"\r\n" + b"X-Many: " + b"x" * 8000 + b"\r\n" + b"Y: " + b"y" * 30_000,
    ],
    ids=["a long line", "a long line of a plain head", "a long path", "a long head"],
)
async def test_a_head_that_is_too_long_is_a_431(stage: Stage, head: bytes) -> None:
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        await caller.send(head)
        assert is_ours(await reply_of(caller), 431, "head-too-large")
        assert await closed(caller)


async def test_many_broken_heads_are_a_few_lines_in_the_log(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = await stage.coordinator()

    for _ in range(50):
        async with calling(coordinator.port) as caller:
            await caller.send(BROKEN["no http"])
            await reply_of(caller)

    assert 10 <= len([each for each in caplog.records if "not a request" in each.message]) < 25


# How many.


async def test_a_connection_too_many_is_told_503_and_the_others_are_served(stage: Stage) -> None:
    coordinator = await stage.coordinator(
        max_connections=3, max_connections_per_address=3, lingering_time=0.1
    )

    async with many(coordinator.port, 3) as inside:
        async with calling(coordinator.port) as outside:
            await outside.send(LIVE)
            refused = await reply_of(outside)
            assert is_ours(refused, 503, "too-many-connections")
            assert int(refused.headers["retry-after"]) >= 1
            assert await closed(outside)
        for each in inside:
            await each.send(LIVE)
            assert (await reply_of(each)).body == b"alive\n"


async def test_who_leaves_makes_room_on_whichever_road_they_were(stage: Stage) -> None:
    coordinator = await stage.coordinator(
        max_connections=2, max_connections_per_address=2, lingering_time=0.1
    )
    for _ in range(5):
        async with calling(coordinator.port) as slow, calling(coordinator.port) as plain:
            await slow.send(LIVE)
            await reply_of(slow)
            await plain.send(PLAIN_HALF)

    async def comes_in() -> bool:
        async with calling(coordinator.port) as caller:
            await caller.send(LIVE)
            return (await reply_of(caller)).status == 200

    end = time.monotonic() + PATIENCE_SECONDS
    while not await comes_in():
        assert time.monotonic() < end


async def test_of_one_address_fewer_are_let_in_than_in_all(stage: Stage) -> None:
    coordinator = await stage.coordinator(max_connections=9, max_connections_per_address=2)

    async with many(coordinator.port, 2), calling(coordinator.port) as third:
        await third.send(LIVE)
        refused = await reply_of(third)

    assert is_ours(refused, 503, "too-many-connections")
    assert "this address" in refused.json()["detail"]


# Those who do not read.


@asynccontextmanager
async def reading_nothing(port: int) -> AsyncIterator[socket.socket]:
    """A connection whose own machine takes next to nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        yield connection


async def hung_up_on(connection: socket.socket) -> None:
    """Until the other side has reset it: nothing of what it sent is taken in the meantime."""

    def is_reset() -> bool:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    await eventually(is_reset, "the connection is reset")


@pytest.mark.parametrize("times", [1, 30])
async def test_who_does_not_read_an_answer_is_hung_up_on(stage: Stage, times: int) -> None:
    """One answer fits into the kernel's buffers here, thirty do not."""
    coordinator = await stage.coordinator(answer_timeout=0.3)

    async with reading_nothing(coordinator.port) as connection:
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * times
        await asyncio.get_running_loop().sock_sendall(connection, request)
        await hung_up_on(connection)


async def test_requests_sent_ahead_of_answers_that_nobody_reads_are_left_unread(
    stage: Stage,
) -> None:
    coordinator = await stage.coordinator()
    loop, request = asyncio.get_running_loop(), b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    taken = 0

    async def send_on_and_on(connection: socket.socket) -> None:
        nonlocal taken
        while True:
            await loop.sock_sendall(connection, request * 1000)
            taken += len(request) * 1000

    async with reading_nothing(coordinator.port) as connection:
        sending = asyncio.create_task(send_on_and_on(connection))
        before = -1
        while taken > before:  # until a second has passed in which nothing was taken
            before = taken
            await asyncio.wait([sending], timeout=1.0)
        sending.cancel()

    assert taken < 16 * 2**20, "the rest waits in the sockets' buffers"


async def test_requests_sent_ahead_are_answered_in_order_when_they_are_read(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        await caller.send((LIVE + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n") * 200)
        statuses = [(await reply_of(caller)).status for _ in range(400)]

    assert statuses == [200, 404] * 200


async def test_a_body_that_was_sent_ahead_is_not_taken_for_a_head() -> None:
    """It goes on arriving while the answer before it waits to be read."""
    size = 2 * MAX_HEAD_BYTES

    async def handler(request: web.Request) -> web.Response:
        if request.query:
            return web.Response(body=bytes(32 * 2**20))  # more than the kernel's buffers hold
        return web.Response(text=str(len(await request.read())))

    async with serving(handler) as port, calling(port) as caller:
        await caller.send(post(query="?large") + post(Content_Length=str(size)))
        status, headers = await caller.head()
        await caller.send(bytes(size))
        await caller.skip(int(headers["content-length"]))
        last = await reply_of(caller)

    assert (status, last.status, last.body) == (200, 200, str(size).encode())


async def test_a_body_that_nobody_asked_for_ends_the_connection(stage: Stage) -> None:
    coordinator = await stage.coordinator(lingering_time=0.1)

    async with calling(coordinator.port) as caller:
        await caller.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nxx")
        reply = await reply_of(caller)

        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await closed(caller)
