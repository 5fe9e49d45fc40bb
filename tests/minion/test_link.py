"""Links between a coordinator and a real host: many in flight, any order, cancel, status, drain."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from coordinator.errors import DemitasseError
from coordinator.link import Link, open_link
from coordinator.outstanding import settling
from minion.host.link import MAX_STRANGE_BYTES, MAX_UNREAD_BYTES, STATUS_INTERVAL_SECONDS
from minion.host.server import LANE, create_app
from minion.host.spec import InputSpec
from tests.minion.service import DEADLINE_SECONDS, POISON, Gate, service, x
from tests.waiting import eventually
from wire.answers import unpack_answer
from wire.examples import Cancel, Predict, Result
from wire.frames import HEADER, UPGRADE_TOKEN, FrameReader
from wire.greetings import Hello, Ready
from wire.heartbeats import Heartbeat
from wire.messages import Message
from wire.messages import decode as decode_message
from wire.status import Drain, Status
from wire.tensor import Tensor
from wire.tuning import Tune, Tuning


class Host:
    """A host in this process, on a Unix socket."""

    def __init__(
        self, folder: Path, model: str, *, shutdown_timeout: float = 1.0, **changes: Any
    ) -> None:
        self.address = f"unix:{folder / 'host.sock'}"
        self.app = create_app(service(model, **changes), grace_seconds=10.0)
        self.runner = web.AppRunner(
            self.app, handler_cancellation=True, shutdown_timeout=shutdown_timeout
        )
        self.links: list[Link] = []

    async def start(self) -> None:
        await self.runner.setup()
        await web.UnixSite(self.runner, self.address.removeprefix("unix:")).start()

    async def link(self) -> Link:
        link = await open_link(self.address, "test")
        self.links.append(link)
        await eventually(lambda: link.status is not None, "the first status has come")
        return link

    async def ready_link(self) -> Link:
        link = await self.link()
        await eventually(lambda: link.status.ready, "the host says ready")
        return link

    async def stop(self) -> None:
        await self.runner.cleanup()
        for link in self.links:
            link.close()
            await link.closed

    @property
    def lane(self) -> Any:
        return self.app[LANE]


StartHost = Callable[..., Awaitable[Host]]


@pytest.fixture
async def start_host(tmp_path: Path) -> AsyncIterator[StartHost]:
    hosts: list[Host] = []

    async def start(model: str, **changes: Any) -> Host:
        host = Host(tmp_path, model, **changes)
        hosts.append(host)
        await host.start()
        return host

    yield start
    for host in hosts:
        await host.stop()


def ask(
    link: Link, inputs: dict[str, Tensor], **parameters: Any
) -> tuple[int, asyncio.Future[Result | DemitasseError]]:
    """The id of one example, and its outcome once that is there."""
    answered = asyncio.get_running_loop().create_future()
    deadline = time.monotonic() + DEADLINE_SECONDS
    return link.predict(inputs, parameters, deadline, settling(answered)), answered


async def outcome(future: asyncio.Future[Result | DemitasseError]) -> Any:
    result = await asyncio.wait_for(future, DEADLINE_SECONDS)
    return result.code if isinstance(result, DemitasseError) else unpack_answer(result.answer)["x"]


async def test_the_host_says_who_it_is(start_host: StartHost) -> None:
    host = await start_host("Echo")

    link = await host.link()

    assert link.ready.result() == Ready("zoo", "1.0.0", "zoo-1.0.0-0", 7)


async def test_many_are_in_flight_at_once(start_host: StartHost) -> None:
    link = await (await start_host("Echo", queue_limit=500)).ready_link()

    futures = [ask(link, x(value))[1] for value in range(300)]

    assert [await outcome(future) for future in futures] == list(range(300))


async def test_answers_come_in_any_order(start_host: StartHost, gate: Gate) -> None:
    host = await start_host(
        "Gated", options=gate.options, inputs={"x": InputSpec("float32", (-1,))}
    )
    link = await host.ready_link()
    done: list[str] = []
    _, first = ask(link, x(1))
    await eventually(lambda: host.lane.bouncer.occupied == 1, "it is in")
    _, refused = ask(link, {})
    first.add_done_callback(lambda _: done.append("first"))
    refused.add_done_callback(lambda _: done.append("refused"))

    assert await outcome(refused) == "invalid-input"
    gate.open_for(1)
    assert await outcome(first) == 1

    assert done == ["refused", "first"]


async def test_a_result_tells_what_happened_on_its_way(start_host: StartHost) -> None:
    link = await (await start_host("Echo")).ready_link()

    _, future = ask(link, x(1), a=[1])
    result = await future

    assert result.batch_size == 1
    assert result.queue_seconds >= 0
    assert result.predict_seconds > 0
    assert unpack_answer(result.answer)["parameters"] == {"a": [1]}


async def test_arrays_travel_back(start_host: StartHost) -> None:
    link = await (await start_host("Arrays", options={"length": 100_000})).ready_link()

    _, future = ask(link, x(21))
    answer = unpack_answer((await future).answer)

    assert answer["ramp"].array().tolist() == (np.arange(100_000) % 256).tolist()
    assert answer["doubled"].array().tolist() == [42.0]
    assert answer["empty"].shape == (0, 4)


async def test_failures_are_told_by_code(start_host: StartHost) -> None:
    link = await (await start_host("Raises")).ready_link()

    futures = [ask(link, x(value))[1] for value in (1, POISON, 3)]

    assert [await outcome(future) for future in futures] == [1, "model-error", 3]


async def test_past_the_limit_is_refused_with_a_time(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", queue_limit=1, options=gate.options)
    link = await host.ready_link()
    _, inside = ask(link, x(1))

    _, refused = ask(link, x(2))
    refusal = await refused
    gate.open_for(1)

    assert isinstance(refusal, DemitasseError)
    assert refusal.code == "queue-full"
    assert refusal.retry_after
    assert await outcome(inside) == 1


async def test_the_cancelled_are_not_computed(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", max_batch_size=1, options=gate.options)
    link = await host.ready_link()
    _, first = ask(link, x(1))
    id, second = ask(link, x(2))
    await eventually(lambda: host.lane.bouncer.occupied == 2, "both are in")

    link.cancel(id)
    await eventually(lambda: host.lane.bouncer.occupied == 1, "one has left")
    gate.open_for(1)

    assert await outcome(first) == 1
    assert not second.done()


async def test_a_lost_coordinator_leaves_nobody_behind(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", max_batch_size=1, options=gate.options)
    link = await host.ready_link()
    futures = [ask(link, x(value))[1] for value in (1, 2, 3)]
    await eventually(lambda: host.lane.bouncer.occupied == 3, "all are in")

    link.close()
    await eventually(lambda: host.lane.bouncer.occupied == 1, "those that wait have left")
    gate.open_for(1)
    await eventually(lambda: host.lane.bouncer.occupied == 0, "the one that ran has ended")

    assert [await outcome(future) for future in futures] == ["not-serving"] * 3


async def test_a_lost_link_leaves_no_task(start_host: StartHost) -> None:
    host = await start_host("Echo")
    keeper = await host.ready_link()
    before = len(asyncio.all_tasks())

    for _ in range(3):
        link = await host.link()
        link.close()
        await link.closed

    await eventually(lambda: len(asyncio.all_tasks()) == before, "the handlers have ended")
    assert not keeper.closed.done()


# Status.


async def test_others_counts_what_came_by_other_links(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", options=gate.options)
    mine, other = await host.ready_link(), await host.ready_link()

    _, future = ask(mine, x(1))
    await eventually(lambda: other.status.others == 1, "the other is told")
    assert mine.status.others == 0
    gate.open_for(1)
    await future

    await eventually(lambda: other.status.others == 0, "the other is told again")


async def test_who_was_cancelled_while_it_ran_takes_a_place_until_its_batch_has_ended(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", options=gate.options)
    link = await host.ready_link()
    id, _ = ask(link, x(1))
    await eventually(lambda: host.lane.bouncer.occupied == 1, "it is in")

    link.cancel(id)
    await eventually(lambda: link.status.others == 1, "its place is taken")
    gate.open_for(1)

    await eventually(lambda: link.status.others == 0, "its place is free")


async def test_others_counts_what_came_by_no_link(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", options=gate.options)
    link = await host.ready_link()

    host.lane.submit(x(1), {}, None, lambda outcome: None)
    await eventually(lambda: link.status.others == 1, "its place is taken")
    gate.open_for(1)

    await eventually(lambda: link.status.others == 0, "its place is free")


async def test_others_counts_what_a_lost_coordinator_has_left_running(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", options=gate.options)
    lost, link = await host.ready_link(), await host.ready_link()
    ask(lost, x(1))
    await eventually(lambda: host.lane.bouncer.occupied == 1, "it is in")

    lost.close()
    await eventually(lambda: link.status.coordinators == 1, "one is left")
    assert link.status.others == 1
    gate.open_for(1)

    await eventually(lambda: link.status.others == 0, "its place is free")


async def test_the_learned_cost_is_told(start_host: StartHost) -> None:
    link = await (await start_host("Echo")).ready_link()
    assert link.status.seconds_per_example == 0

    await outcome(ask(link, x(1))[1])

    await eventually(lambda: link.status.seconds_per_example > 0, "a batch was measured")


async def test_what_a_batch_has_cost_is_told_with_its_answers(
    start_host: StartHost, gate: Gate
) -> None:
    link = await (await start_host("Gated", options=gate.options)).ready_link()
    loop = asyncio.get_running_loop()
    begun = loop.time()

    _, future = ask(link, x(1))
    await eventually(
        lambda: loop.time() - begun > STATUS_INTERVAL_SECONDS, "nothing was told for a while"
    )
    gate.open_for(1)
    await outcome(future)

    assert link.status.seconds_per_example > 0


async def test_how_large_a_batch_may_be_is_told_where_memory_ran_out(
    start_host: StartHost,
) -> None:
    link = await (await start_host("RunsOut", options={"room": 2})).ready_link()
    assert link.status.batch_limit is None

    await asyncio.gather(*(outcome(ask(link, x(value))[1]) for value in range(20, 28)))

    await eventually(lambda: link.status.batch_limit == 2, "it is told")


async def test_tuning_is_in_force_and_told_to_everybody(start_host: StartHost) -> None:
    host = await start_host("Echo")
    link, other = await host.ready_link(), await host.ready_link()

    assert await link.tune(Tuning(3, 2, 0.5, 1)) == Tuning(3, 2, 0.5, 1)

    await eventually(lambda: other.status.queue_limit == 3, "the other is told")
    assert await link.tune(Tuning(9, 9, 0.0, 0)) == Tuning(3, 2, 0.5, 1)


# The end.


async def test_draining_answers_what_was_accepted(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", options=gate.options)
    link = await host.ready_link()
    _, inside = ask(link, x(1))
    await eventually(lambda: host.lane.bouncer.occupied == 1, "it is in")

    stopping = asyncio.create_task(host.stop())
    await eventually(lambda: link.status.draining, "the link is told")
    _, late = ask(link, x(2))
    assert await outcome(late) in ("draining", "not-serving")
    gate.open_for(1)

    assert await outcome(inside) == 1
    await stopping


async def test_a_host_with_idle_links_and_connections_ends_without_waiting_for_them(
    start_host: StartHost,
) -> None:
    # So long would aiohttp wait for every handler that it believes in.
    host = await start_host("Echo", shutdown_timeout=3 * DEADLINE_SECONDS)
    await host.ready_link()
    await host.ready_link()
    _, kept_alive = await asyncio.open_unix_connection(host.address.removeprefix("unix:"))
    kept_alive.write(b"GET /livez HTTP/1.1\r\nHost: minion\r\n\r\n")

    async with asyncio.timeout(DEADLINE_SECONDS):
        await host.stop()

    kept_alive.close()
    with contextlib.suppress(ConnectionError):
        await kept_alive.wait_closed()


# Peers that do not behave, byte by byte.


class Raw:
    """A peer that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader()

    @classmethod
    async def connect(cls, host: Host) -> Raw:
        streams = await asyncio.open_unix_connection(host.address.removeprefix("unix:"))
        raw = cls(*streams)
        raw.writer.write(
            b"GET /link HTTP/1.1\r\nHost: minion\r\n"
            b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % UPGRADE_TOKEN.encode()
        )
        assert b" 101 " in await raw.reader.readuntil(b"\r\n\r\n")
        return raw

    def send(self, message: Hello | Predict | Cancel | Tune) -> None:
        self.writer.writelines(message.encode())

    async def messages(self) -> list[Message]:
        """Those that the next bytes complete."""
        data = await asyncio.wait_for(self.reader.read(65536), DEADLINE_SECONDS)
        return [decode_message(frame) for frame in self._frames.feed(data)]

    async def ended(self) -> bool:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self.reader.read(65536):
                pass
        return True

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_nothing_is_said_before_hello(start_host: StartHost) -> None:
    host = await start_host("Echo")
    await host.ready_link()
    raw = await Raw.connect(host)
    host.lane.tune(Tuning(5, 1, 0.0, 1))  # which every link is told of

    raw.send(Hello("raw"))
    said = await raw.messages()

    assert [type(message) for message in said[:2]] == [Ready, Status]
    await raw.close()


async def test_hello_is_said_once(start_host: StartHost, caplog: pytest.LogCaptureFixture) -> None:
    host = await start_host("Echo")
    raw = await Raw.connect(host)

    raw.send(Hello("raw"))
    raw.send(Hello("another"))

    assert await raw.ended()
    assert "Hello was said before" in caplog.text
    await raw.close()


async def test_whoever_does_not_say_hello_is_not_waited_for_however_often_it_says_something(
    start_host: StartHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("minion.host.link.GREETING_SECONDS", 0.1)
    host = await start_host("Echo")
    raw = await Raw.connect(host)

    raw.writer.write(b"D")  # the first byte of a frame

    assert await raw.ended()
    assert "nobody said Hello" in caplog.text
    await raw.close()


async def test_a_stranger_gets_no_memory_for_what_it_announces(
    start_host: StartHost, caplog: pytest.LogCaptureFixture
) -> None:
    host = await start_host("Echo")
    raw = await Raw.connect(host)
    announced = b"".join(Hello("x" * (MAX_STRANGE_BYTES + 1)).encode())

    raw.writer.write(announced[: HEADER.size])  # and nothing of what it announces

    assert await raw.ended()
    assert "broke the protocol" in caplog.text
    await raw.close()


@pytest.mark.parametrize(
    "message",
    [Predict(1, x(1), None, {}), Cancel(1), Tune(1, Tuning(1, 1, 0.0, 9))],
    ids=["Predict", "Cancel", "Tune"],
)
async def test_whoever_does_not_say_hello_first_is_not_served(
    start_host: StartHost, message: Predict | Cancel | Tune
) -> None:
    host = await start_host("Echo")
    await host.ready_link()
    raw = await Raw.connect(host)

    raw.send(message)

    assert await raw.ended()
    assert (host.lane.bouncer.admitted, host.lane.tuning.revision) == (0, 0)
    await raw.close()


async def test_a_host_whose_worker_is_busy_says_that_it_is_there(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", options=gate.options)
    await host.ready_link()
    raw = await Raw.connect(host)
    raw.send(Hello("raw"))
    raw.send(Predict(1, x(1), None, {}))
    await eventually(lambda: host.lane.bouncer.occupied == 1, "it is in")
    said: list[Message] = []

    while not any(isinstance(message, Heartbeat) for message in said):
        said += await raw.messages()

    assert host.lane.bouncer.occupied == 1
    gate.open_for(1)
    await raw.close()


async def test_a_coordinator_that_falls_silent_is_hung_up_on_and_its_examples_abandoned(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", max_batch_size=1, options=gate.options)
    link = await host.ready_link()
    raw = await Raw.connect(host)
    raw.send(Hello("raw"))
    for id in (1, 2):
        raw.send(Predict(id, x(id), None, {}))
    await eventually(lambda: host.lane.bouncer.occupied == 2, "both are in")

    assert await raw.ended()

    await eventually(lambda: host.lane.bouncer.occupied <= 1, "who waited has left the queue")
    assert not link.closed.done()
    gate.open_for(2)
    await raw.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\n\r\n" * 3,
        b"".join(Ready("a", "b", "c", 1).encode()),
        b"DM\x03\x03" + b"\xff" * 20,
        b"DM\x03\x63" + bytes(20) + b"\x80",
    ],
    ids=["zeros", "http", "not for a host", "endless", "unknown kind"],
)
async def test_garbage_ends_its_own_link_and_no_other(
    start_host: StartHost, garbage: bytes
) -> None:
    host = await start_host("Echo")
    link = await host.ready_link()
    raw = await Raw.connect(host)

    raw.writer.write(garbage)

    assert await raw.ended()
    assert await outcome(ask(link, x(1))[1]) == 1
    await raw.close()


@pytest.mark.parametrize(
    "unfit",
    [{"a": [[]] * 20_000}, {"a": math.nan}, {"a": b"bytes"}],
    ids=["too large", "no number", "no JSON value"],
)
async def test_unfit_parameters_are_refused_and_what_is_in_flight_is_answered(
    start_host: StartHost, gate: Gate, unfit: dict[str, Any]
) -> None:
    host = await start_host("Gated", options=gate.options)
    link = await host.ready_link()
    _, in_flight = ask(link, x(1))

    assert await outcome(ask(link, x(2), **unfit)[1]) == "invalid-input"
    gate.open_for(2)
    assert await outcome(in_flight) == 1
    assert await outcome(ask(link, x(3))[1]) == 3


async def test_unfit_parameters_do_not_free_an_id_that_is_in_flight(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", options=gate.options)
    await host.ready_link()
    raw = await Raw.connect(host)

    raw.send(Hello("raw"))
    raw.send(Predict(1, x(1), None, {}))
    raw.send(Predict(1, x(2), None, {"a": math.nan}))

    assert await raw.ended()
    gate.open_for(1)
    await raw.close()


async def test_an_id_in_flight_cannot_be_used_again(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", options=gate.options)
    await host.ready_link()
    raw = await Raw.connect(host)

    raw.send(Hello("raw"))
    raw.send(Predict(1, x(1), None, {}))
    raw.send(Predict(1, x(2), None, {}))

    assert await raw.ended()
    gate.open_for(2)
    await raw.close()


async def test_drain_is_said_once(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", max_batch_size=1, options=gate.options)
    await host.ready_link()
    raw = await Raw.connect(host)
    raw.send(Hello("raw"))
    for id in (1, 2):
        raw.send(Predict(id, x(id), None, {}))
    await eventually(lambda: host.lane.bouncer.occupied == 2, "both are in")
    said: list[Message] = []

    stopping = asyncio.create_task(host.stop())
    while not any(isinstance(message, Drain) for message in said):
        said += await raw.messages()
    gate.open_for(1)
    while not any(isinstance(message, Result) for message in said):
        said += await raw.messages()
    host.lane.tune(Tuning(5, 1, 0.0, 1))  # something new to say
    gate.open_for(1)
    while messages := await raw.messages():
        said += messages
    await stopping

    assert sum(isinstance(message, Drain) for message in said) == 1
    assert sum(isinstance(message, Result) for message in said) == 2
    await raw.close()


async def test_a_coordinator_that_does_not_read_is_not_read_from(start_host: StartHost) -> None:
    length = 2**20
    host = await start_host("Arrays", queue_limit=8, options={"length": length})
    await host.ready_link()
    raw = await Raw.connect(host)
    raw.send(Hello("raw"))
    raw.writer.transport.pause_reading()
    wanted = 4 * MAX_UNREAD_BYTES // length
    bouncer = host.lane.bouncer

    id = 0
    held_back = False
    while id < wanted and not held_back:
        id += 1
        raw.send(Predict(id, x(1), None, {}))
        before = bouncer.admitted
        try:
            async with asyncio.timeout(0.5):
                await eventually(
                    lambda: bouncer.admitted > before and not bouncer.occupied,  # noqa: B023
                    "it is answered",
                )
        except TimeoutError:
            held_back = True

    assert held_back
    assert bouncer.admitted <= 2 * MAX_UNREAD_BYTES // length
    raw.writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await raw.writer.wait_closed()


async def test_another_upgrade_is_refused(start_host: StartHost) -> None:
    host = await start_host("Echo")
    reader, writer = await asyncio.open_unix_connection(host.address.removeprefix("unix:"))

    writer.write(b"GET /link HTTP/1.1\r\nHost: minion\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")

    assert b" 426 " in head
    writer.close()
    await writer.wait_closed()


def test_a_tensor_can_be_empty() -> None:
    assert Tensor.from_array(np.zeros((0, 3))).array().shape == (0, 3)
