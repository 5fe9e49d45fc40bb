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

from coordinator.http.framing import MAX_HEAD_BYTES
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


UNNAMED = {
    "a label that decodes to nothing": b"GET http://xn--a/livez HTTP/1.1",
    "one that is no punycode": b"GET https://xn--zzzzzzzzzzzz/livez HTTP/1.1",
    "one among others": b"GET http://a.xn--a.b/livez HTTP/1.1",
    "no path": b"GET http://xn--a HTTP/1.1",
    "a request of the express lane, were it not for the name": (
        b"POST http://xn--a/models/gate/infer HTTP/1.1"
    ),
    "a tunnel": b"CONNECT xn--a:443 HTTP/1.1",
    "a port that is too high": b"GET http://a:99999/livez HTTP/1.1",
    "a port that is no number": b"GET http://a:x/livez HTTP/1.1",
    "an address that does not end": b"GET http://[::1/livez HTTP/1.1",
    "no host": b"GET http:///livez HTTP/1.1",
    "a null in the host": b"GET http://a\0b/livez HTTP/1.1",
    "a tunnel to nowhere": b"CONNECT  ",
}


@pytest.mark.parametrize("name", UNNAMED)
async def test_a_target_whose_host_cannot_be_understood_is_a_400(
    stage: Stage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = await stage.coordinator()

    for port in (coordinator.port, admin_port(coordinator)):
        async with calling(port) as caller:
            await caller.send(UNNAMED[name] + b"\r\nHost: localhost\r\n\r\n")
            assert is_ours(await reply_of(caller), 400, "bad-request")
            assert await closed(caller)

    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "target",
    [
        b"http://u:p%zz@a%zz/livez",
        b"http://[::1]:80/livez",
        b"http://a..b/livez",
        b"http://XN--A/livez",
        b"//x/livez",
    ],
)
async def test_odd_hosts_and_paths_are_answered_and_the_connection_is_kept(
    stage: Stage, target: bytes
) -> None:
    coordinator = await stage.coordinator()

    for port in (coordinator.port, admin_port(coordinator)):
        async with calling(port) as caller:
            await caller.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" + LIVE)
            assert (await reply_of(caller)).status in (200, 404)
            assert (await reply_of(caller)).body == b"alive\n"


async def test_a_request_that_cannot_be_made_is_a_500_and_hung_up_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(*of: object) -> web.BaseRequest:
        raise RuntimeError("aiohttp's fault")

    async with serving(_nobody, make=make) as port, calling(port) as caller:
        await caller.send(post())
        assert is_ours(await reply_of(caller), 500, "internal-error")
        assert await closed(caller)

    assert [each for each in caplog.records if each.exc_info and each.name == "aiohttp.server"]


async def test_a_complete_head_for_which_nobody_begins_is_hung_up_on() -> None:
    class Lost:
        """A request of which aiohttp's task never hears."""

        def __init__(self, *of: object) -> None:
            raise asyncio.CancelledError

    async with serving(_nobody, make=Lost, head_seconds=0.2) as port, calling(port) as caller:
        await caller.send(post())
        assert is_ours(await reply_of(caller), 500, "internal-error")
        assert await closed(caller)


async def _nobody(request: web.Request) -> web.Response:
    raise AssertionError("there is no request")


# Heads of requests that were sent ahead.

CHUNKED = post(b"2;x=y\r\nab\r\n0\r\nTrailer: z\r\n\r\n", Transfer_Encoding="chunked")


@pytest.mark.parametrize(
    "first", [post(), post(b"ab"), CHUNKED], ids=["no body", "a body", "chunks"]
)
async def test_a_head_that_began_behind_another_request_has_its_deadline_too(
    first: bytes,
) -> None:
    async with serving(_echo, head_seconds=0.2) as port, calling(port) as caller:
        await caller.send(first + post()[:20])
        assert (await reply_of(caller)).status == 200
        assert is_ours(await reply_of(caller), 408, "head-timeout")
        assert await closed(caller)


async def test_half_a_head_waits_for_as_long_as_the_request_before_it_is_answered() -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response(text=await request.text())

    async with serving(handler, head_seconds=0.2) as port, calling(port) as caller:
        async with calling(port) as other:
            await caller.send(post(b"ab") + post()[:20])
            await other.send(post()[:20])
            assert (await reply_of(other)).status == 408  # meanwhile there was a look
        go_on.set()
        assert (await reply_of(caller)).body == b"ab"
        await caller.send(post(b"c")[20:])
        assert (await reply_of(caller)).body == b"c"


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.mark.parametrize("cut", [1, 7, 64, 10_000])
async def test_requests_of_all_kinds_are_answered_in_order_however_they_are_cut(cut: int) -> None:
    kinds = [post(), post(b"\r\n\r\nGET"), CHUNKED, post(b"x", Upgrade="foo", Connection="Upgrade")]
    sent = b"".join(kinds * 15)

    async with serving(_echo) as port, calling(port) as caller:
        for start in range(0, len(sent), cut):
            await caller.send(sent[start : start + cut])
        bodies = [(await reply_of(caller)).body for _ in range(60)]

    assert bodies == [b"", b"\r\n\r\nGET", b"ab", b"x"] * 15


async def test_forty_bodies_that_came_late_do_not_keep_back_what_is_sent_ahead() -> None:
    """aiohttp's parser counts each as one more that nobody has taken, up to 32."""
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        begun.set()
        return await _echo(request)

    async with serving(handler) as port, calling(port) as caller:
        for _ in range(40):
            begun.clear()
            await caller.send(post(Content_Length="2"))
            await begun.wait()
            await caller.send(b"ab")
            assert (await reply_of(caller)).body == b"ab"
        await caller.send(post(b"c") * 3)
        assert [(await reply_of(caller)).body for _ in range(3)] == [b"c"] * 3


@pytest.mark.parametrize(
    "first", [post(), post(b"ab"), CHUNKED], ids=["no body", "a body", "chunks"]
)
async def test_what_comes_before_garbage_is_answered(first: bytes) -> None:
    async with serving(_echo) as port, calling(port) as caller:
        await caller.send(first + first + b"BAD\r\n\r\n")
        assert [(await reply_of(caller)).status for _ in range(2)] == [200, 200]
        assert is_ours(await reply_of(caller), 400, "bad-request")
        assert await closed(caller)


async def test_what_comes_before_garbage_is_answered_on_both_ports(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    for port in (coordinator.port, admin_port(coordinator)):
        async with calling(port) as caller:
            await caller.send(LIVE + LIVE + b"BAD\r\n\r\n")
            assert [(await reply_of(caller)).body for _ in range(2)] == [b"alive\n"] * 2
            assert is_ours(await reply_of(caller), 400, "bad-request")


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
