"""A coordinator's end of a link: against a real host, and against whoever else may listen there."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from stage import Stage, listening_silently

from coordinator.errors import (
    DeadlineExceeded,
    DemitasseError,
    InvalidInput,
    NotServing,
    PayloadTooLarge,
)
from coordinator.fleet import Fleet
from coordinator.link import Link, open_link
from coordinator.outstanding import settling
from coordinator.parcels import MIN_PARCEL_BYTES, Parcels
from coordinator.replica import Place
from minion.host.server import create_app
from minion.host.spec import write_spec
from tests.waiting import eventually
from wire.answers import Answer
from wire.credentials import Credentials, Secret
from wire.examples import Result
from wire.frames import FrameReader
from wire.greetings import Hello, Ready
from wire.heartbeats import HEARTBEAT_SECONDS, SILENT_LOOKS, Heartbeat
from wire.messages import decode
from wire.status import Status
from wire.tensor import Tensor
from wire.tuning import Tune, Tuning

MIB = 2**20
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
READY = b"".join(Ready("gate", "1.0.0", "gate-0", 1).encode())

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def x(*values: float) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array(values, np.float32))}


def asking(
    link: Link, inputs: dict[str, Tensor], within: float = 60.0, **parameters: object
) -> asyncio.Future[Result | DemitasseError]:
    """The outcome of one example, once it is there."""
    answered = asyncio.get_running_loop().create_future()
    link.predict(inputs, parameters, time.monotonic() + within, settling(answered))
    return answered


async def answer_of(asked: asyncio.Future[Result | DemitasseError]) -> list[float]:
    result = await asked
    assert isinstance(result, Result), result
    values: list[float] = result.answer.tensors[0].array().tolist()
    return values


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

    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.start_unix_server(serve, f"{folder}/somebody.sock"):
            yield f"unix:{folder}/somebody.sock"
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

    asked = [asking(link, x(i, i * i)) for i in range(200)]

    said = [await answer_of(each) for each in asked]
    assert said == [[float(i), float(np.float32(i * i))] for i in range(200)]
    link.close()


async def test_a_models_own_code_arrives_as_it_was_said(stage: Stage) -> None:
    stage.publish("gate")
    link = await open_link((await stage.host("gate")).address, "test")

    refused = await asking(link, x(1), invalid="too-blue")

    assert isinstance(refused, InvalidInput)
    assert (refused.code, refused.detail) == ("too-blue", "as you wish")
    link.close()


async def test_tune_gives_the_numbers_that_are_in_force(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate", settings_revision=5)
    link = await open_link(host.address, "test")

    newer = await link.tune(Tuning(3, 2, 0.5, 6))
    older = await link.tune(Tuning(9, 9, 0.9, 4))

    assert newer == older == host.lane.tuning == Tuning(3, 2, 0.5, 6)
    link.close()


async def test_a_tune_that_nobody_waits_for_any_more_is_forgotten() -> None:
    async with somebody(saying(SWITCHED + READY)) as address:
        link = await open_link(address, "test")
        before = given_up()
        await tune_in_vain(link)
        await asyncio.sleep(0)  # the loop itself refers to what it woke this task for

        assert given_up() == before
        link.close()


async def tune_in_vain(link: Link) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await link.tune(Tuning(1, 1, 0.0, 1))


def given_up() -> int:
    """Futures that were cancelled, and that somebody refers to."""
    gc.collect()
    futures = [each for each in gc.get_objects() if isinstance(each, asyncio.Future)]
    return sum(each.cancelled() for each in futures)


async def test_a_link_to_a_replica_that_is_retired_while_it_is_tuned_is_closed() -> None:
    asked = asyncio.Event()

    async def never_tuned(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCHED + READY)
        frames = FrameReader()
        while data := await reader.read(4096):
            for frame in frames.feed(data):
                if isinstance(decode(frame), Tune):
                    asked.set()
            writer.writelines(Heartbeat().encode())  # it lives, and the link with it

    async with asyncio.timeout(15), somebody(never_tuned) as address:  # which waits for the end
        fleet = Fleet("test")
        fleet.update([Place("gate-0", "gate", "1.0.0", address, 1)])
        await fleet.tune("gate", "1.0.0", Tuning(64, 8, 0.002, revision=2))
        await asked.wait()
        fleet.update([])


async def test_each_waits_until_its_own_deadline_and_no_longer(stage: Stage) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    link = await open_link(host.address, "test")
    ended: list[str] = []

    patient = asking(link, x(1))
    async with gate.held():
        late, soon = asking(link, x(2), within=1.0), asking(link, x(3), within=0.05)
        for name, asked in (("patient", patient), ("late", late), ("soon", soon)):
            asked.add_done_callback(lambda _, name=name: ended.append(name))
        outcome = await late

    assert isinstance(outcome, DeadlineExceeded)
    assert await answer_of(patient) == [1.0]
    assert ended == ["soon", "late", "patient"]
    await eventually(lambda: host.lane.bouncer.occupied == 0, "the host has dropped the late ones")
    link.close()


async def test_what_is_in_flight_fails_when_the_connection_is_lost() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCHED + READY)
        await reader.readexactly(len(b"".join(Hello("test").encode())) + 1)
        writer.close()

    async with somebody(hang_up) as address:
        link = await open_link(address, "test")
        predicted = asking(link, x(1))
        tuned = asyncio.ensure_future(link.tune(Tuning(1, 1, 0.0, 1)))

        assert isinstance(await predicted, NotServing)
        with pytest.raises(NotServing, match="lost"):
            await tuned
        await link.closed
        with pytest.raises(NotServing, match="lost"):
            asking(link, x(1))


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


async def test_a_host_that_falls_silent_is_given_up_and_what_is_in_flight_fails() -> None:
    async with somebody(saying(SWITCHED + READY)) as address:
        link = await open_link(address, "test")
        asked = asking(link, x(1))

        assert "silent" in str(await asked)
        assert link.stuck
        await link.closed


async def test_a_link_without_traffic_stays_open_for_longer_than_silence_is_borne(
    stage: Stage,
) -> None:
    stage.publish("gate")
    link = await open_link((await stage.host("gate")).address, "test")
    borne = HEARTBEAT_SECONDS * (SILENT_LOOKS + 2)

    with suppress(TimeoutError):
        async with asyncio.timeout(borne):
            await asyncio.shield(link.closed)

    assert not link.closed.done()
    assert await answer_of(asking(link, x(1))) == [1.0]
    link.close()


async def test_an_answer_to_nothing_is_dropped() -> None:
    stray = b"".join(Result(99, Answer(b"\x80", []), 1, 0.0, 0.0, 0).encode())
    status = b"".join(Status(True, False, 1, 0, 0.0, 0.0, 1, 1).encode())
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
        asking(link, x(1), **parameters)
    other = asking(link, x(2))

    assert await answer_of(other) == [2.0]
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

        asked = [asking(link, large) for _ in range(9)]
        await eventually(lambda: link.stuck, "it is seen to be stuck")
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.gather(*asked)

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


@pytest.fixture
def parcels() -> Iterator[Parcels]:
    parcels = Parcels(MIB)
    yield parcels
    parcels.close()


def many(value: float) -> dict[str, Tensor]:
    """An input that is worth a place in shared memory."""
    return {"x": Tensor.from_array(np.full(MIN_PARCEL_BYTES, value, np.float32))}


async def test_what_lies_in_shared_memory_is_answered_and_the_memory_given_back(
    stage: Stage, parcels: Parcels
) -> None:
    stage.publish("gate")
    link = await open_link((await stage.host("gate")).address, "test", parcels)

    asked = [asking(link, many(value)) for value in range(4)]
    small = asking(link, x(9))
    assert (link.shares, parcels.taken) == (True, 4)

    assert [set(await answer_of(each)) for each in asked] == [{0.0}, {1.0}, {2.0}, {3.0}]
    assert await answer_of(small) == [9.0]
    del asked  # what was answered lies there as well
    await eventually(lambda: parcels.taken == 0, "the memory is given back")
    link.close()


async def test_memory_that_may_shrink_is_not_shared_and_tensors_go_over_the_link(
    stage: Stage, parcels: Parcels
) -> None:
    stage.publish("gate")
    sealed, parcels.descriptor = parcels.descriptor, os.memfd_create("unsealed")
    os.ftruncate(parcels.descriptor, parcels.size_bytes)
    link = await open_link((await stage.host("gate")).address, "test", parcels)

    asked = asking(link, many(3))

    assert (link.shares, parcels.taken) == (False, 0)
    assert set(await answer_of(asked)) == {3.0}
    link.close()
    os.close(sealed)


async def test_over_tcp_nothing_is_shared(stage: Stage, parcels: Parcels) -> None:
    stage.publish("gate")
    secret = Secret(b"between you and me")
    app = create_app(stage.spec("gate"), grace_seconds=1.0, secret=secret)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"tcp:127.0.0.1:{runner.addresses[0][1]}"
    link = await open_link(address, "test", parcels, Credentials(secret))
    await eventually(lambda: link.status is not None and link.status.ready, "it is ready")

    asked = asking(link, many(3))

    assert (link.shares, parcels.taken) == (False, 0)
    assert set(await answer_of(asked)) == {3.0}
    link.close()
    await runner.cleanup()


async def test_memory_is_given_back_when_a_request_is_cancelled_late_or_lost(
    stage: Stage, parcels: Parcels
) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    link = await open_link(host.address, "test", parcels)
    lost = asking(link, many(1))
    async with gate.held():
        link.cancel(link.predict(many(2), {}, time.monotonic() + 60, lambda _: None))
        assert parcels.taken == 1
        assert isinstance(await asking(link, many(3), within=0.05), DeadlineExceeded)
        assert parcels.taken == 1

        host.hang_up()
        assert isinstance(await lost, NotServing)

    assert parcels.taken == 0


async def test_a_caller_that_fails_at_its_answer_costs_nobody_else_theirs(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    link = await open_link(host.address, "test")

    def fail(outcome: object) -> None:
        raise RuntimeError("a fault in whoever asked")

    link.predict(x(1), {}, time.monotonic() + 60, fail)
    async with gate.held():
        link.predict(x(2), {}, time.monotonic() + 0.05, fail)
        late = asking(link, x(3), within=0.05)
        assert isinstance(await late, DeadlineExceeded)
    link.predict(x(4), {}, time.monotonic() + 60, fail)
    lost = asking(link, x(5))
    async with gate.held():
        host.hang_up()
        assert isinstance(await lost, NotServing)

    assert caplog.text.count("could not be passed on") == 3
