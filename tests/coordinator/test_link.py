"""A coordinator's end of a link: against a real host, and against whoever else may listen there."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from stage import Stage, eventually, listening_silently

from coordinator.errors import InvalidInput, NotServing, PayloadTooLarge
from coordinator.link import Link, open_link
from minion.host.spec import write_spec
from wire.messages import Answer, Hello, Ready, Result, Status, Tuning
from wire.tensor import Tensor

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
READY = b"".join(Ready("gate", "1.0.0", "gate-0", 1).encode())

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def x(*values: float) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array(values, np.float32))}


@asynccontextmanager
async def somebody(talk: Talk) -> AsyncIterator[str]:
    """The address of somebody who reads a request's head and then talks like this."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await talk(reader, writer)
        await reader.read()  # until the other side has closed, too
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await over.wait()


def saying(data: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return talk


async def test_a_link_knows_who_it_leads_to_and_how_much_room_there_is(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate", queue_limit=7)

    link = await open_link(host.address, "test")
    await eventually(lambda: link.status is not None, "the host has said how it is")

    assert link.ready.result() == Ready("gate", "1.0.0", "gate-1.0.0-0", 1)
    assert link.status is not None
    assert (link.status.ready, link.status.queue_limit, link.status.others) == (True, 7, 0)
    link.close()
    await link.closed


async def test_answers_meet_their_requests_in_whatever_order_they_come(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate", queue_limit=200, max_batch_size=8)
    link = await open_link(host.address, "test")

    asked = [link.predict(x(i, i * i), {}, None)[1] for i in range(200)]
    results = await asyncio.gather(*asked)

    said = [result.answer.tensors[0].array().tolist() for result in results]
    assert said == [[float(i), float(np.float32(i * i))] for i in range(200)]
    link.close()


async def test_a_models_own_code_arrives_as_it_was_said(stage: Stage) -> None:
    stage.publish("gate")
    link = await open_link((await stage.host("gate")).address, "test")

    _, future = link.predict(x(1), {"invalid": "too-blue"}, None)
    with pytest.raises(InvalidInput, match="as you wish") as failed:
        await future

    assert failed.value.code == "too-blue"
    link.close()


async def test_tune_gives_the_numbers_that_are_in_force(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate", settings_revision=5)
    link = await open_link(host.address, "test")

    newer = await link.tune(Tuning(3, 2, 0.5, 6))
    older = await link.tune(Tuning(9, 9, 0.9, 4))

    assert newer == older == host.lane.tuning == Tuning(3, 2, 0.5, 6)
    link.close()


async def test_what_is_in_flight_fails_when_the_connection_is_lost() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCHED + READY)
        await reader.readexactly(len(b"".join(Hello("test").encode())) + 1)
        writer.close()

    async with somebody(hang_up) as address:
        link = await open_link(address, "test")
        _, predicted = link.predict(x(1), {}, None)
        tuned = link.tune(Tuning(1, 1, 0.0, 1))

        with pytest.raises(NotServing, match="lost"):
            await predicted
        with pytest.raises(NotServing, match="lost"):
            await tuned
        await link.closed
        with pytest.raises(NotServing, match="lost"):
            link.predict(x(1), {}, None)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "refused the upgrade"),
        (b"HTTP/1.1 101 " + b"x" * 9000, "no end"),
        (SWITCHED + b"GET / HTTP/1.1\r\nHost: minion\r\n\r\n", "not a frame"),
        (SWITCHED + b"".join(Hello("me too").encode()), "Hello is not for a coordinator"),
    ],
    ids=["another-server", "endless-head", "no-frames", "another-coordinator"],
)
async def test_somebody_who_is_no_minion_is_not_serving(said: bytes, why: str) -> None:
    async with somebody(saying(said)) as address:
        with pytest.raises(NotServing, match=why):
            await open_link(address, "test")


async def test_a_second_ready_breaks_the_protocol() -> None:
    async with somebody(saying(SWITCHED + READY + READY)) as address:
        link = await open_link(address, "test")

        await link.closed


async def test_an_answer_to_nothing_is_dropped() -> None:
    stray = b"".join(Result(99, Answer(b"\x80", []), 1, 0.0, 0.0).encode())
    status = b"".join(Status(True, False, 1, 0, 0.0).encode())
    async with somebody(saying(SWITCHED + READY + stray + status)) as address:
        link = await open_link(address, "test")

        await eventually(lambda: link.status is not None, "what follows is read")
        assert not link.closed.done()
        link.close()


async def test_nobody_waits_without_end_for_a_host_that_says_nothing() -> None:
    with listening_silently() as address, pytest.raises(TimeoutError):
        await open_link(address, "test", within_seconds=0.05)


async def test_nobody_listening_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await open_link(f"unix:{tmp_path}/nobody.sock", "test")


async def test_an_example_that_a_host_would_hang_up_on_is_refused_alone(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    link = await open_link(host.address, "test")
    parameters = {"numbers": [0.1] * 8_000_000}  # nine bytes each: above the limit of a head

    with pytest.raises(PayloadTooLarge):
        link.predict(x(1), parameters, None)
    _, other = link.predict(x(2), {}, None)

    assert (await other).answer.tensors[0].array().tolist() == [2.0]
    link.close()


async def test_a_host_that_reads_nothing_any_more_is_stuck_until_it_reads_again(
    stage: Stage, tmp_path: Path
) -> None:
    stage.publish("gate")
    write_spec(stage.spec("gate"), tmp_path / "spec.json")
    address = f"unix:{tmp_path}/stopped.sock"
    words = ["-m", "minion.host", "--spec", str(tmp_path / "spec.json"), "--address", address]
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    link = await first_link(address)
    try:
        large = {"x": Tensor("float32", (4 * 2**20,), bytes(16 * 2**20))}
        os.kill(process.pid, signal.SIGSTOP)

        asked = [link.predict(large, {}, None)[1] for _ in range(9)]
        await eventually(lambda: link.stuck, "it is seen to be stuck")
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.gather(*asked, return_exceptions=True)

        assert not link.stuck
    finally:
        link.close()
        process.terminate()
        await process.wait()


async def first_link(address: str) -> Link:
    """To a host that was only just started."""
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):
                return await open_link(address, "test")
            await asyncio.sleep(0.005)
