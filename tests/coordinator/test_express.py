"""The express lane over real sockets: it answers as aiohttp's road does, whatever callers do."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from edge import PATIENCE, Caller, Reply, calling
from stage import PATIENCE_SECONDS, Coordinator, Gate, Host, Stage

from coordinator.app import Rooms, create_public_app, open_watch, serve_public
from coordinator.config import Settings
from coordinator.http.body import PayloadLimits
from coordinator.http.connection import Connection
from coordinator.http.doors import Doors
from coordinator.http.ending import Ending
from coordinator.http.express import Express
from coordinator.http.head import Callers, Timeouts
from coordinator.http.listening import listening
from coordinator.http.pace import Patience
from coordinator.http.plain import END, PlainHeads
from coordinator.outstanding import Settle
from tests.waiting import eventually

PATH = "/models/gate/infer"
JSON, MSGPACK, BYTES = "application/json", "application/msgpack", "application/octet-stream"
#: With this header a request is for aiohttp, and means the same.
OTHER_ROAD = {"TE": "trailers"}
MIB = 2**20


def request(
    body: bytes = b'{"inputs": {"x": [1]}}',
    content_type: str = JSON,
    *,
    path: str = PATH,
    length: int | None = None,
    **headers: str,
) -> bytes:
    """A POST. In the names of headers, `_` stands for `-`.

    Args:
        length: what is announced, where that is not the body's own.
    """
    fields = {
        "Host": "edge",
        "Content-Type": content_type,
        "Content-Length": str(len(body) if length is None else length),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + END + body


def example(*values: float) -> bytes:
    return request(json.dumps({"inputs": {"x": values}}).encode())


def tensor(value: float, size_bytes: int) -> bytes:
    """A raw tensor whose every number is this one."""
    return np.full(size_bytes // 4, value, np.float32).tobytes()


def large(value: float, size_bytes: int = 150_528, **headers: str) -> bytes:
    return request(tensor(value, size_bytes), BYTES, Accept=MSGPACK, **headers)


def output(reply: Reply) -> list[float]:
    assert reply.status == 200, reply
    values: list[float] = reply.json()["output"]["x"]
    return values


def large_output(reply: Reply) -> bytes:
    assert reply.status == 200, reply
    data: bytes = msgspec.msgpack.decode(reply.body)["output"]["x"]["data"]
    return data


def error(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json()["code"]


async def closed(caller: Caller) -> bool:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await caller.closed()


async def asked(caller: Caller, data: bytes) -> Reply:
    await caller.send(data)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await caller.reply()


async def serving(stage: Stage, **settings: Any) -> Coordinator:
    """A coordinator and a model that answers at once."""
    stage.publish("gate", queue_limit=200, max_batch_size=8)
    await stage.host("gate")
    return await stage.coordinator(**settings)


async def gated(stage: Stage, *, queue_limit: int = 8, **settings: Any) -> tuple[Gate, Host, Any]:
    """A gate that is shut, its host, and a coordinator."""
    stage.publish("gate", queue_limit=queue_limit)
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    return gate, host, await stage.coordinator(**settings)


def lent(coordinator: Coordinator) -> int:
    """Parcels that somebody has."""
    parcels = coordinator.rooms.fleet.parcels
    assert parcels is not None
    return parcels.taken


async def all_given_back(coordinator: Coordinator) -> None:
    replica = coordinator.replica("gate")
    await eventually(
        lambda: (replica.taken, replica.occupied, lent(coordinator)) == (0, 0, 0),
        "all places and all memory are given back",
    )


# Both roads answer alike.


ALIKE: dict[str, bytes] = {
    "json": example(1, 2),
    "msgpack": request(msgspec.msgpack.encode({"inputs": {"x": [1, 2]}}), MSGPACK),
    "another name for msgpack": request(
        msgspec.msgpack.encode({"inputs": {"x": [1.5]}}), "application/x-msgpack"
    ),
    "bytes": request(tensor(3, 12), BYTES),
    "many bytes": request(tensor(3, 40_000), BYTES),
    "an answer in msgpack": request(tensor(3, 12), BYTES, Accept=MSGPACK),
    "a charset": request(content_type="application/json; charset=utf-8"),
    "a version": request(path="/models/gate/versions/1.0.0/infer"),
    "the beginning of a version": request(path="/models/gate/versions/1/infer"),
    "an alias": request(path="/models/gate/versions/default/infer"),
    "a timeout": request(Demitasse_Timeout="12.5"),
    "a request id": request(X_Request_Id="from-a-proxy"),
    "a request id that is not taken over": request(X_Request_Id="two words"),
    "no such model": request(path="/models/nobody/infer"),
    "no such version": request(path="/models/gate/versions/7.0.0/infer"),
    "no such alias": request(path="/models/gate/versions/nightly/infer"),
    "a model without a minion": request(path="/models/absent/infer"),
    "a timeout of nothing": request(Demitasse_Timeout="0"),
    "a timeout that is too long": request(Demitasse_Timeout="1e9"),
    "a timeout that is no number": request(Demitasse_Timeout="soon"),
    "no json": request(b"{"),
    "no text": request(b'{"inputs": {"x": ["\xff"]}}'),
    "no msgpack": request(b"\xc1", MSGPACK),
    "too deep": request(b"[" * 3000),
    "no inputs": request(b"{}"),
    "an unknown key": request(b'{"inputs": {"x": [1]}, "more": 1}'),
    "no input of that name": request(b'{"inputs": {"y": [1]}}'),
    "an input too few": request(b'{"inputs": {}}'),
    "not numbers": request(b'{"inputs": {"x": ["a"]}}'),
    "not finite": request(b'{"inputs": {"x": [1e999]}}'),
    "odd bytes": request(b"123", BYTES),
    "the model's own refusal": request(
        b'{"inputs": {"x": [1]}, "parameters": {"invalid": "too-blue"}}'
    ),
    "more numbers than are accepted": request(b'{"inputs": {"x": [' + b"1," * 3000 + b"1]}}"),
    "more bytes than are accepted": request(tensor(1, 80_000), BYTES),
    "another media type": request(b"x", "text/plain"),
    "no media type": request(b"x", ""),
}


def by_aiohttp(data: bytes) -> bytes:
    head, _, body = data.partition(END)
    return head + b"\r\nTE: trailers" + END + body


def gist(reply: Reply) -> tuple[int, dict[str, str], Any]:
    """What two answers to the same request have in common."""
    headers = {
        name: value
        for name, value in reply.headers.items()
        if name not in {"date", "content-length", "connection", "x-request-id"}
    }
    if reply.headers["x-request-id"] == "from-a-proxy":
        headers["x-request-id"] = "from-a-proxy"
    packed = reply.headers["content-type"] == MSGPACK
    document = msgspec.msgpack.decode(reply.body) if packed else reply.json()
    assert document.pop("request_id") == reply.headers["x-request-id"]
    document.pop("timeline_ms", None)
    return reply.status, headers, document


async def test_both_roads_answer_alike(stage: Stage) -> None:
    stage.publish("gate", name="absent")
    coordinator = await serving(stage, max_json_bytes=4096, max_body_bytes=65536, max_image_bytes=9)
    plain, other = {}, {}

    for name, data in ALIKE.items():
        async with calling(coordinator.port) as caller:
            plain[name] = gist(await asked(caller, data))
        async with calling(coordinator.port) as caller:
            other[name] = gist(await asked(caller, by_aiohttp(data)))

    assert plain == other
    assert {status for status, _, _ in plain.values()} == {200, 400, 404, 413, 415, 422, 503}
    await all_given_back(coordinator)


def test_the_two_roads_compared_above_are_two() -> None:
    def reads(data: bytes) -> bool:
        return PlainHeads().read(data.partition(END)[0] + END) is not None

    assert {name for name, data in ALIKE.items() if not reads(data)} == set()
    assert not any(reads(by_aiohttp(data)) for data in ALIKE.values())


async def test_an_alias_that_moved_means_another_version_on_the_same_connection(
    stage: Stage,
) -> None:
    for version in ("1.0.0", "1.1.0"):
        stage.publish("gate", version=version)
        await stage.host("gate", version)
    stage.catalog.set_alias("gate", "default", "1.0.0", who="test")
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        before = await asked(caller, example(1))
        stage.catalog.set_alias("gate", "default", "1.1.0", who="test")
        await coordinator.rooms.directory.refresh()
        after = await asked(caller, example(1))

    assert [reply.json()["version"] for reply in (before, after)] == ["1.0.0", "1.1.0"]


async def test_a_full_queue_refuses_alike_and_before_the_body(stage: Stage) -> None:
    gate, _, coordinator = await gated(stage, queue_limit=1)
    async with calling(coordinator.port) as first, calling(coordinator.port) as caller:
        await first.send(example(1))
        async with gate.held():
            plain = await asked(caller, request(b"", length=9))
            await caller.send(b"123456789")
            other = await asked(caller, request(b"", length=9, **OTHER_ROAD))

            assert error(plain) == error(other) == (429, "queue-full")
            assert set(plain.headers) ^ set(other.headers) <= {"connection"}
            # Each is told of a place of its own: one a second as long as nothing was measured.
            assert [each.headers["retry-after"] for each in (plain, other)] == ["2", "3"]


async def counted(coordinator: Coordinator) -> dict[str, float]:
    text = (await coordinator.client.get("/metrics")).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("demitasse_")]
    return {name: float(value) for name, _, value in lines if "created" not in name}


async def test_both_roads_count_alike(stage: Stage) -> None:
    stage.publish("gate", name="absent")
    coordinator = await serving(stage)
    deltas = []
    for road in ({}, OTHER_ROAD):
        before = await counted(coordinator)
        for data in (
            request(**road),
            request(path="/models/gate/versions/1.0.0/infer", **road),
            request(path="/models/absent/infer", **road),
            request(b"{", **road),
            request(b'{"inputs": {"x": [1]}, "parameters": {"invalid": "too-blue"}}', **road),
        ):
            async with calling(coordinator.port) as caller:
                await asked(caller, data)
        after = await counted(coordinator)
        deltas.append(
            {
                name: after[name] - before.get(name, 0)
                for name in after
                if after[name] != before.get(name, 0)
                and name.startswith(("demitasse_requests_total", "demitasse_answers_total"))
                and 'route="/metrics"' not in name
            }
        )

    plain, other = deltas
    assert plain == other
    assert sum(plain.values()) == 8, "five requests, three of which a model has answered"


# Bytes as they come.


async def test_a_request_may_come_byte_by_byte(stage: Stage) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        for byte in example(1, 2, 3):
            await caller.send(bytes([byte]))
            await asyncio.sleep(0)
        assert output(await caller.reply()) == [1, 2, 3]


async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(stage: Stage) -> None:
    gate, host, coordinator = await gated(stage)
    replica = coordinator.replica("gate")

    async with calling(coordinator.port) as caller:
        good = [example(i) for i in range(4)]
        await caller.send(b"".join([*good[:2], request(b"{"), *good[2:]]))
        async with gate.held():
            assert (replica.taken, host.lane.bouncer.occupied) == (1, 1)
        with gate.open():
            replies = [await caller.reply() for _ in range(5)]

    assert [output(each) for each in replies[:2] + replies[3:]] == [[0], [1], [2], [3]]
    assert error(replies[2]) == (400, "invalid-json")


class RawCaller:
    """A socket that takes what it can be given, and whose other end nobody need read."""

    def __init__(self, port: int, *, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    async def push(self, data: bytes) -> int:
        """How much of it could be sent before nothing more was taken for a while."""
        sent, refused = 0, 0
        while sent < len(data) and refused < 100:
            try:
                sent += self.socket.send(data[sent : sent + MIB])
                refused = 0
            except BlockingIOError:
                refused += 1
            await asyncio.sleep(0.001)
        return sent

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection(sock=self.socket)
        try:
            yield Caller(reader, writer)
        finally:
            writer.close()


async def test_what_is_sent_ahead_is_left_in_the_socket_and_answered_in_its_turn(
    stage: Stage,
) -> None:
    gate, _, coordinator = await gated(stage)
    data = b"".join(large(i, 200_000) for i in range(100))
    raw = RawCaller(coordinator.port)

    tracemalloc.start()
    sent = await raw.push(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent < len(data)
    assert peak < 3 * MIB

    async with raw.caller() as caller:
        sending = asyncio.create_task(caller.send(data[sent:]))
        with gate.open():
            outputs = [large_output(await caller.reply()) for _ in range(100)]
        await sending
    assert outputs == [tensor(i, 200_000) for i in range(100)]
    await all_given_back(coordinator)


async def test_a_caller_who_reads_no_answers_holds_up_nobody_and_is_hung_up_on(
    stage: Stage,
) -> None:
    coordinator = await serving(stage, answer_timeout=0.4)
    data = large(1, 400_000) * 200
    raw = RawCaller(coordinator.port, receive_bytes=65536)

    sent = await raw.push(data)
    async with calling(coordinator.port) as other:
        assert output(await asked(other, example(2))) == [2]

    assert sent < len(data)
    with raw.socket:
        await eventually(lambda: ended(raw.socket), "the connection is reset")
    await all_given_back(coordinator)


def ended(connection: socket.socket) -> bool:
    """Whether writing into it fails: reading would be what is not to be done here."""
    try:
        connection.send(b"x")
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return False


# Refusals and what follows of their bodies.


async def test_a_small_refused_body_is_thrown_away_and_the_next_request_answered(
    stage: Stage,
) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        refused = await asked(caller, request(b"", path="/models/nobody/infer", length=100_000))
        assert error(refused) == (404, "unknown-model")
        assert "connection" not in refused.headers
        await caller.send(bytes(60_000))
        assert output(await asked(caller, bytes(40_000) + example(7))) == [7]


async def test_after_a_large_refused_body_the_connection_is_closed(stage: Stage) -> None:
    coordinator = await serving(stage)
    size = 2 * MIB

    async with calling(coordinator.port) as caller:
        refused = await asked(caller, request(b"", path="/models/nobody/infer", length=size))
        assert error(refused) == (404, "unknown-model")
        assert refused.headers["connection"] == "close"
        await caller.send(bytes(size))
        assert await closed(caller)


async def test_the_rest_of_a_large_refused_body_is_waited_for_no_longer_than_it_lingers(
    stage: Stage,
) -> None:
    coordinator = await serving(stage, lingering_time=0.1)

    async with calling(coordinator.port) as caller:
        await asked(caller, request(b"", path="/models/nobody/infer", length=2 * MIB))
        assert await closed(caller)


@pytest.mark.parametrize("sent", [b"", b"x" * 50], ids=["nothing", "half"])
async def test_the_rest_of_a_small_refused_body_is_waited_for_no_longer_than_a_body(
    stage: Stage, sent: bytes
) -> None:
    coordinator = await serving(stage, body_idle_timeout=0.1)

    async with calling(coordinator.port) as caller:
        await asked(caller, request(b"", path="/models/nobody/infer", length=100))
        await caller.send(sent)
        assert await closed(caller)


async def trickle(caller: Caller, ended: Callable[[], bool], byte: bytes = b"x") -> None:
    """One byte every 10 ms until it is over."""
    while not ended():
        await caller.send(byte)
        await asyncio.sleep(0.01)


async def closed_despite_trickle(caller: Caller) -> bool:
    closing = asyncio.create_task(closed(caller))
    with suppress(ConnectionError):
        await trickle(caller, closing.done)
    try:
        return await closing
    except ConnectionError:
        return True


@pytest.mark.parametrize("settings", [{"body_timeout": 0.3}, {"body_idle_timeout": 0.3}])
async def test_a_refused_body_that_trickles_is_not_read_for_ever(
    stage: Stage, settings: dict[str, float]
) -> None:
    coordinator = await serving(stage, **settings)

    async with calling(coordinator.port) as caller:
        await asked(caller, request(b"", path="/models/nobody/infer", length=100_000))
        assert await closed_despite_trickle(caller)


# Callers who are slow.


@pytest.mark.parametrize("size", [1000, 150_528], ids=["small", "large"])
@pytest.mark.parametrize(
    ("settings", "headers", "why"),
    [
        ({"body_idle_timeout": 0.5}, {}, "nothing of the body arrived for 0.5 s"),
        ({"body_timeout": 0.5}, {}, "the body took longer than 0.5 s to arrive"),
        (
            {"body_idle_timeout": 5.0},
            {"Demitasse_Timeout": "0.5"},
            "the body took longer to arrive than the request may take",
        ),
    ],
    ids=["stops", "too long", "too late"],
)
async def test_a_body_that_does_not_come_is_a_408_and_its_place_is_given_back(
    stage: Stage, size: int, settings: dict[str, float], headers: dict[str, str], why: str
) -> None:
    coordinator = await serving(stage, lingering_time=0.1, **settings)

    async with calling(coordinator.port) as caller:
        await caller.send(request(b"abcd", BYTES, length=size, **headers))
        replica = coordinator.replica("gate")
        await eventually(lambda: replica.taken == 1, "a place is taken")
        assert lent(coordinator) == (size > 100_000)
        reply = await asked(caller, b"")

        assert error(reply) == (408, "body-timeout")
        assert reply.json()["detail"] == why
        assert reply.headers["connection"] == "close"
        await all_given_back(coordinator)
        assert await closed(caller)


@pytest.mark.parametrize(
    ("patience", "headers", "why"),
    [
        (PATIENCE._replace(body=1e-6), {}, "the body took longer than 1e-06 s to arrive"),
        (
            PATIENCE,
            {"Demitasse_Timeout": "0.000001"},
            "the body took longer to arrive than the request may take",
        ),
    ],
    ids=["too long", "too late"],
)
async def test_a_body_that_is_complete_when_its_time_is_over_is_a_408_too(
    stage: Stage, patience: Patience, headers: dict[str, str], why: str
) -> None:
    coordinator = await serving(stage)
    lane, transport = express(coordinator, patience=patience), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    whole = request(**headers)

    deliver(connection, whole[:-4])
    deliver(connection, whole[-4:])

    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert why.encode() in transport.written
    assert transport.closing
    await all_given_back(coordinator)
    lane.close()


@pytest.mark.parametrize("sent", [b"", b"POST /mod", example(1)[:60]], ids=["none", "some", "more"])
async def test_a_connection_on_which_no_head_is_completed_is_closed(
    stage: Stage, sent: bytes
) -> None:
    coordinator = await serving(stage, keepalive_timeout=0.1, head_timeout=0.1, lingering_time=0.1)

    async with calling(coordinator.port) as caller:
        if sent:
            assert error(await asked(caller, sent)) == (408, "head-timeout")
        assert await closed(caller)


@pytest.mark.parametrize("size", [1000, 150_528], ids=["small", "large"])
async def test_a_body_that_trickles_is_a_408_though_it_never_stands_still(
    stage: Stage, size: int
) -> None:
    coordinator = await serving(stage, lingering_time=0.1, body_idle_timeout=0.3)

    async with calling(coordinator.port) as caller:
        await caller.send(request(b"abcd", BYTES, length=size))
        reading = asyncio.create_task(caller.reply())
        await trickle(caller, reading.done)
        reply = await reading

    assert error(reply) == (408, "body-timeout")
    assert "1024 bytes/s" in reply.json()["detail"]
    await all_given_back(coordinator)


async def test_a_connection_is_idle_from_its_last_answer_and_not_from_its_last_request(
    stage: Stage,
) -> None:
    gate, _, coordinator = await gated(stage)
    lane, transport = express(coordinator), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, example(1))

    async with gate.held():
        connection.look(time.monotonic() + 1000)
        assert not transport.closing
        opened = time.monotonic()
    await eventually(lambda: transport.written, "it is answered")
    connection.look(opened + 75)
    assert not transport.closing
    connection.look(time.monotonic() + 75.001)
    assert transport.closing
    lane.close()


# Callers who leave.


@pytest.mark.parametrize("size", [1000, 150_528], ids=["small", "large"])
async def test_who_leaves_in_mid_body_gives_place_and_memory_back(stage: Stage, size: int) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        await caller.send(request(bytes(size - 4), BYTES, length=size))
        replica = coordinator.replica("gate")
        await eventually(lambda: replica.taken == 1, "a place is taken")
        assert lent(coordinator) == (size > 100_000)
    await all_given_back(coordinator)


async def test_who_leaves_while_queued_is_dropped_by_the_host(stage: Stage) -> None:
    gate, host, coordinator = await gated(stage)
    async with calling(coordinator.port) as first:
        await first.send(large(1))
        async with gate.held():
            async with calling(coordinator.port) as second:
                await second.send(large(2))
                await eventually(lambda: host.lane.queued == 1, "the second is queued")
            await eventually(lambda: host.lane.queued == 0, "the host has dropped it")
            assert (coordinator.replica("gate").taken, lent(coordinator)) == (1, 1)
        assert large_output(await first.reply()) == tensor(1, 150_528)
    await all_given_back(coordinator)


async def test_who_leaves_while_it_runs_gives_place_and_memory_back(stage: Stage) -> None:
    gate, _, coordinator = await gated(stage)
    replica = coordinator.replica("gate")

    async with calling(coordinator.port) as caller:
        await caller.send(large(1))
        async with gate.held():
            caller.hang_up()
            await eventually(lambda: (replica.taken, lent(coordinator)) == (0, 0), "it is free")
    await all_given_back(coordinator)


# By hand, where the order of events matters.


class FakeTransport(asyncio.Transport):
    """Keeps what is written; calls `on_write` with every piece."""

    def __init__(self, on_write: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.reading = True
        self.closing = False
        self.protocol: asyncio.BaseProtocol | None = None
        self._on_write = on_write

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        self._on_write()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


def deliver(connection: Connection, data: bytes) -> None:
    """As a transport does, in reads as large as the connection wants them."""
    while data:
        buffer = connection.get_buffer(-1)
        taken = min(len(buffer), len(data))
        buffer[:taken] = data[:taken]
        connection.buffer_updated(taken)
        data = data[taken:]


def express(
    coordinator: Coordinator, aiohttp: Callable[[], asyncio.Protocol] = asyncio.Protocol, **how: Any
) -> Express:
    values: dict[str, Any] = {
        "snapshot": coordinator.rooms.directory.current,
        "analysis": coordinator.rooms.analysis,
        "limits": PayloadLimits(64 * MIB, 2 * MIB, MIB, 1, 1, 60, 5, 0, MIB),
        "timeouts": Timeouts(30, 300),
        "callers": Callers({}),
        "patience": PATIENCE,
        "doors": Doors(100, 100),
        "records": coordinator.rooms.records,
        "aiohttp": aiohttp,
    }
    return Express(**{**values, **how})


async def test_nothing_is_begun_for_who_left_as_the_answer_before_it_was_written(
    stage: Stage,
) -> None:
    coordinator = await serving(stage)
    replica = coordinator.replica("gate")
    lane = express(coordinator)
    connection = Connection(lane)

    def leave() -> None:
        asyncio.get_running_loop().call_soon(connection.connection_lost, None)

    transport, link = FakeTransport(leave), replica.link()
    connection.connection_made(transport)
    deliver(connection, example(1) + large(2))
    await eventually(lambda: transport.written, "the first is answered")
    async with calling(coordinator.port) as caller:
        for _ in range(3):  # what was begun, if anything, has been answered before these
            await asked(caller, example(1))

    assert replica.link() is link, "the link is still the same"
    assert (replica.taken, lent(coordinator), len(lane.connections)) == (0, 0, 0)
    lane.close()


async def test_what_may_still_become_a_plain_head_is_waited_for(stage: Stage) -> None:
    lane, transport = express(await stage.coordinator()), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    for byte in request():
        deliver(connection, bytes([byte]))

    assert transport.protocol is None, "it was not handed over"
    assert transport.written.startswith(b"HTTP/1.1 404 ")
    lane.close()


async def test_who_reads_slowly_is_idle_from_when_the_answer_has_left(stage: Stage) -> None:
    patience = PATIENCE._replace(least_per_second=10)
    lane, transport = express(await stage.coordinator(), patience=patience), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, request())
    answered = time.monotonic()

    for seconds, unread in ((50, 3000), (100, 2000), (150, 1000), (200, 0)):
        transport.unread = unread
        connection.look(answered + seconds)
        assert not transport.closing
    connection.look(answered + 150 + 75)
    assert not transport.closing
    connection.look(answered + 150 + 76)
    assert transport.closing
    lane.close()


async def test_where_aiohttp_has_enough_at_once_nothing_more_is_read(stage: Stage) -> None:
    class Satisfied(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.data = data
            self.transport.pause_reading()  # type: ignore[attr-defined]

    coordinator = await stage.coordinator()
    lane, transport = express(coordinator, Satisfied), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, b"GET /models HTTP/1.1\r\nHo")

    assert isinstance(transport.protocol, Satisfied)
    assert transport.protocol.data == b"GET /models HTTP/1.1\r\nHo"
    assert not transport.reading
    assert not lane.connections
    lane.close()


class Nonsense:
    """In the analysis' place, and in a ticket's: every answer is something that none can be."""

    def __init__(self) -> None:
        self.closed = 0

    def remembers(self, version: Any) -> bool:
        return False

    def reserve(self, version: Any, flow: Any, deadline: float) -> Nonsense:
        return self

    def send(self, inputs: Any, parameters: Any, deadline: float, settle: Settle) -> None:
        asyncio.get_running_loop().call_soon(settle, object())

    def close(self) -> None:
        self.closed += 1


async def test_a_fault_of_ours_is_a_500_without_internals_and_logged_in_full(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Any:
        raise RuntimeError("/secret/path")

    lane, transport = express(await stage.coordinator(), snapshot=broken), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, request(X_Request_Id="this-one"))

    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert b'"internal-error"' in transport.written
    assert b"secret" not in transport.written
    assert b"RuntimeError" not in transport.written
    assert "request this-one" in caplog.text
    assert "/secret/path" in caplog.text
    lane.close()


async def test_an_answer_that_cannot_be_written_is_a_fault_of_ours_and_gives_the_place_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    nonsense = Nonsense()
    lane, transport = express(await stage.coordinator(), analysis=nonsense), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, request(X_Request_Id="this-one"))
    await eventually(lambda: transport.written, "it is answered")

    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert nonsense.closed == 1
    assert "request this-one" in caplog.text
    lane.close()


# The hand-over.


async def test_one_connection_may_go_from_one_road_to_the_other(stage: Stage) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        assert output(await asked(caller, example(1))) == [1]
        models = await asked(caller, b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [each["name"] for each in models.json()["models"]] == ["gate"]
        assert output(await asked(caller, example(2))) == [2]


async def test_a_connection_that_was_not_read_from_is_read_from_when_it_is_handed_over(
    stage: Stage,
) -> None:
    stage.publish("gate")
    lane, transport = express(await stage.coordinator(), analysis=Nonsense()), FakeTransport()
    connection = Connection(lane)
    connection.connection_made(transport)
    deliver(connection, request() + b"GET /" + b"x" * 100_000)
    assert not transport.reading

    await eventually(lambda: transport.protocol, "it is handed over")
    assert transport.reading
    lane.close()


@pytest.mark.parametrize("size", [1, 7, 100, 3000, 100_000])
async def test_no_byte_is_lost_when_a_connection_is_handed_over(stage: Stage, size: int) -> None:
    """In pieces of several sizes, so that it happens in the middle of whatever."""
    coordinator = await serving(stage)
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    chunk = b'{"inputs": {"x": [5]}}'
    chunked = request(b"", path=PATH, Transfer_Encoding="chunked").replace(
        b"Content-Length: 0\r\n", b""
    ) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk)
    data = example(1) + large(2, 40_000) + example(3) + get + large(4, 40_000) + chunked + get

    async with calling(coordinator.port) as caller:
        step = size if size >= 100 else 3000
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            for place in range(0, len(piece), max(size, len(piece) // 300)):
                await caller.send(piece[place : place + max(size, len(piece) // 300)])
            await asyncio.sleep(0)
        replies = [await caller.reply() for _ in range(7)]

    assert [output(replies[i]) for i in (0, 2, 5)] == [[1], [3], [5]]
    assert [large_output(replies[i]) for i in (1, 4)] == [tensor(2, 40_000), tensor(4, 40_000)]
    assert [replies[i].body for i in (3, 6)] == [b"alive\n"] * 2


async def test_what_follows_a_hand_over_never_comes_to_the_lane(stage: Stage) -> None:
    """To a protocol that, unlike aiohttp, never pauses: the transport itself has to see to it."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[attr-defined]

    lane = express(await stage.coordinator(), Echo)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(partial(Connection, lane), "127.0.0.1", 0) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as connection:
            connection.setblocking(False)
            for piece in (b"GET", b" it", b" all"):
                await loop.sock_sendall(connection, piece)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await loop.sock_recv(connection, 100) == piece
    lane.close()


async def test_another_protocol_is_answered_by_aiohttp(stage: Stage) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        await caller.send(b"\x16\x03\x01\x02\x00 no TLS here\r\n\r\n")
        assert (await caller.head())[0] == 400


async def test_a_head_without_an_end_is_refused(stage: Stage) -> None:
    coordinator = await serving(stage)

    async with calling(coordinator.port) as caller:
        await caller.send(b"POST /models/gate/infer HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert (await caller.head())[0] == 431


# Draining.


@asynccontextmanager
async def second_port(
    stage: Stage, coordinator: Coordinator, **settings: Any
) -> AsyncIterator[tuple[int, Callable[[], asyncio.Task[None]]]]:
    """One more public port of this coordinator, and a call that drains it."""
    async with AsyncExitStack() as public:
        chosen, ending = replace(stage.settings, **settings), Ending()
        port = await public.enter_async_context(serve_public(chosen, coordinator.rooms, ending))

        async def drain() -> None:
            ending.begin()
            await ending.lame_duck(0)
            await public.aclose()

        yield port, lambda: asyncio.create_task(drain())


async def serving_fails(settings: Settings, rooms: Rooms) -> bool:
    try:
        async with serve_public(settings, rooms):
            return False
    except OSError:
        return True


async def test_where_the_port_is_taken_nothing_is_left_behind(stage: Stage) -> None:
    coordinator = await serving(stage)
    gc.collect()
    before = lanes()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = replace(stage.settings, host="127.0.0.1", port=taken.getsockname()[1])
        assert await serving_fails(chosen, coordinator.rooms)

    gc.collect()
    assert lanes() == before


def lanes() -> int:
    """Express lanes that somebody refers to: of one without an end, that is its timer."""
    return sum(isinstance(each, Express) for each in gc.get_objects())


async def test_draining_answers_what_is_asked_and_closes_what_is_idle(stage: Stage) -> None:
    gate, _, coordinator = await gated(stage)
    async with (
        second_port(stage, coordinator) as (port, drain),
        calling(port) as running,
        calling(port) as sending,
        calling(port) as idle,
        calling(port) as used,
        calling(port) as elsewhere,
    ):
        with gate.open():
            await asked(used, example(0))
            await asked(elsewhere, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await running.send(example(1))
        async with gate.held():
            await sending.send(large(2)[:-4])
            replica = coordinator.replica("gate")
            await eventually(lambda: replica.taken == 2, "both have a place")
            drained = drain()
            assert [await closed(each) for each in (idle, used, elsewhere)] == [True] * 3
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            await sending.send(tensor(2, 4))
        with gate.open():
            first, second = await running.reply(), await sending.reply()
        await drained

        assert output(first) == [1]
        assert large_output(second) == tensor(2, 150_528)
        assert [each.headers["connection"] for each in (first, second)] == ["close"] * 2
        assert [await closed(each) for each in (running, sending)] == [True] * 2
    await all_given_back(coordinator)


def refuses(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(0.01)  # for a moment nobody who begins to connect is heard
        return caller.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


async def test_who_was_idle_when_the_listener_closed_may_send_one_more_request(
    stage: Stage,
) -> None:
    coordinator = await serving(stage)
    async with (
        second_port(stage, coordinator) as (port, drain),
        calling(port) as used,
        calling(port) as elsewhere,
        calling(port) as pipelining,
    ):
        await asked(used, example(0))
        await asked(elsewhere, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        drained = drain()
        await eventually(lambda: refuses(port), "the listener is closed")
        await used.send(example(1))
        await elsewhere.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await pipelining.send(example(2) + example(3))
        replies = [await used.reply(), await elsewhere.reply()]
        several = [await pipelining.reply(), await pipelining.reply()]
        await drained

    assert [each.status for each in replies] == [200, 200]
    assert [each.headers["connection"] for each in replies] == ["close"] * 2
    assert [output(each) for each in several] == [[2], [3]]
    assert [each.headers.get("connection") for each in several] == [None, "close"]


@pytest.mark.parametrize("headers", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_a_connection_is_not_idle_whose_request_only_the_kernel_has(
    stage: Stage, headers: dict[str, str]
) -> None:
    coordinator, loop = await serving(stage), asyncio.get_running_loop()
    app = create_public_app(stage.settings, coordinator.rooms)
    watch = await open_watch(app, stage.settings, Doors(9, 9))
    lane = express(coordinator, watch.protocol)
    async with listening(partial(Connection, lane), "127.0.0.1", 0) as port:
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.setblocking(False)

            async def ask_and_be_looked_at(data: bytes) -> bytes:
                if data:
                    caller.send(data)
                for each in (*lane.connections, *watch.connections):
                    each.close_if_idle()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    reply = await loop.sock_recv(caller, 4096)
                await asyncio.sleep(0.01)  # aiohttp's task waits for the next request again
                return reply

            await eventually(lambda: lane.connections, "it is accepted")
            replies = [await ask_and_be_looked_at(request(**headers)) for _ in range(2)]
            end = await ask_and_be_looked_at(b"")
    lane.close()
    await watch.close()

    assert [each.partition(b"\r\n")[0] for each in replies] == [b"HTTP/1.1 200 OK"] * 2
    assert end == b""


async def test_who_waits_to_be_accepted_when_the_listener_closes_is_answered(stage: Stage) -> None:
    coordinator = await serving(stage)
    async with second_port(stage, coordinator) as (port, drain):
        with socket.create_connection(("127.0.0.1", port)) as waiting:  # the loop has not seen it
            waiting.send(example(1))
            waiting.setblocking(False)
            drained = drain()
            reply = await asyncio.get_running_loop().sock_recv(waiting, 4096)
        await drained

    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in reply


async def test_what_is_not_done_when_the_grace_is_over_is_told_so(stage: Stage) -> None:
    gate, _, coordinator = await gated(stage)
    async with (
        second_port(stage, coordinator, drain_grace=0.1) as (port, drain),
        calling(port) as caller,
    ):
        await caller.send(large(1))
        async with gate.held():
            await drain()
            assert (coordinator.replica("gate").taken, lent(coordinator)) == (0, 0)
            assert error(await caller.reply()) == (503, "draining")
            assert await closed(caller)


async def test_on_aiohttps_road_what_is_not_done_when_the_grace_is_over_is_told_so(
    stage: Stage,
) -> None:
    gate, _, coordinator = await gated(stage)
    async with (
        second_port(stage, coordinator, drain_grace=0.1) as (port, drain),
        calling(port) as caller,
    ):
        await caller.send(large(1, **OTHER_ROAD))
        async with gate.held():
            await drain()
            assert error(await caller.reply()) == (503, "draining")
            assert await closed(caller)
    await all_given_back(coordinator)


async def test_an_answer_that_has_not_left_when_the_grace_is_over_was_not_given(
    stage: Stage,
) -> None:
    coordinator = await serving(stage)
    lane = express(coordinator)
    transport, connection = FakeTransport(), Connection(lane)
    connection.connection_made(transport)
    transport.unread, transport.closing = 3000, True  # it was the last

    assert connection.give_up()
    transport.unread = 0
    assert not connection.give_up()

    connection.connection_lost(None)
    lane.close()


# Large tensors.


async def test_each_of_many_large_requests_at_once_gets_its_own_bytes_back(stage: Stage) -> None:
    coordinator = await serving(stage)

    async def several(first: int) -> None:
        async with calling(coordinator.port) as caller:
            for value in range(first, first + 4):
                size = 4 * (5000 + 997 * (value % 64))
                reply = await asked(caller, large(value, size))
                assert large_output(reply) == tensor(value, size)

    await asyncio.gather(*(several(4 * i) for i in range(64)))
    await all_given_back(coordinator)
    assert coordinator.replica("gate").link().shares


async def test_memory_is_given_back_whatever_becomes_of_a_request(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    gate, host, coordinator = await gated(stage)
    async with calling(coordinator.port) as late, calling(coordinator.port) as lost:
        odd = request(bytes(150_527), BYTES)
        assert error(await asked(late, odd)) == (422, "input-mismatch")
        assert lent(coordinator) == 0

        await lost.send(large(1))
        async with gate.held():
            reply = await asked(late, large(2, Demitasse_Timeout="0.1"))
            assert msgspec.json.decode(reply.body)["code"] == "deadline-exceeded"
            assert lent(coordinator) == 1

            host.hang_up()
        with gate.open():
            assert large_output(await lost.reply()) == tensor(1, 150_528)
        await all_given_back(coordinator)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_body_that_arrives_while_the_link_is_lost_is_sent_on_the_next_one(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    coordinator = await stage.coordinator()
    replica = coordinator.replica("gate")
    data = large(3)

    async with calling(coordinator.port) as caller:
        await caller.send(data[:100_000])
        await eventually(lambda: lent(coordinator) == 1, "memory is taken")
        link = replica.link()
        host.hang_up()
        await eventually(lambda: replica.ready and replica.link() is not link, "it is back")
        assert large_output(await asked(caller, data[100_000:])) == tensor(3, 150_528)
    await all_given_back(coordinator)


async def test_with_all_memory_taken_tensors_travel_over_the_link(stage: Stage) -> None:
    coordinator = await serving(stage)
    parcels = coordinator.rooms.fleet.parcels
    assert parcels is not None
    held = parcels.take(parcels.size_bytes)

    async with calling(coordinator.port) as caller:
        assert large_output(await asked(caller, large(5))) == tensor(5, 150_528)
        assert lent(coordinator) == 1
    assert held is not None
