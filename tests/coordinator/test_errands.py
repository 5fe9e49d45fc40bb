"""What waits in a task on the express lane: photos for one model, and examples that are remembered.

Each on both roads: a `TE` header makes it aiohttp's.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import pytest
from edge import Caller, Reply, calling
from stage import Coordinator, Host, Stage, photo
from test_sharing import Counted, joined

from coordinator.errors import DeadlineExceeded
from coordinator.http.errands import Awaited
from tests.waiting import eventually

ROADS = pytest.mark.parametrize("road", ["", "TE: trailers\r\n"], ids=["express", "aiohttp"])
RED = photo(200, 0, 0)
LARGE = photo(200, 0, 0, size=(64, 64)) + bytes(100_000)  # what follows a PNG's end is ignored


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Memory comes back because nobody refers to it, and not when cycles are looked for."""
    gc.disable()
    yield
    gc.enable()


def request(model: str, body: bytes, content_type: str, road: str = "") -> bytes:
    head = (
        f"POST /models/{model}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
        f"{road}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def numbers(*x: float, road: str = "") -> bytes:
    return request("gate", json.dumps({"inputs": {"x": x}}).encode(), "application/json", road)


async def asked(caller: Caller, data: bytes) -> Reply:
    await caller.send(data)
    return await caller.reply()


async def pictured(stage: Stage, accuracy: float | None = None, **options: Any) -> Host:
    await stage.decoder()
    stage.publish("picture", accuracy=accuracy)
    return await stage.host("picture", options=options)


def without_times(reply: Reply) -> dict[str, Any]:
    answer = reply.json()
    timeline = answer.pop("timeline_ms", {})
    answer.pop("request_id")
    return {**answer, "timeline": sorted(timeline)}


async def nothing_is_held(coordinator: Coordinator, *models: str) -> None:
    for model in models:
        replica = coordinator.replica(model)
        await eventually(lambda replica=replica: replica.taken == 0, f"{model} is free")
    parcels = coordinator.rooms.fleet.parcels
    await eventually(lambda: parcels is not None and parcels.taken == 0, "all memory is back")


@ROADS
@pytest.mark.parametrize("file", [RED, LARGE], ids=["with its head", "in pieces"])
async def test_a_photo_for_one_model_is_answered(stage: Stage, road: str, file: bytes) -> None:
    await pictured(stage)
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        for _ in range(2):
            reply = await asked(caller, request("picture", file, "image/png", road))
            assert reply.status == 200
            assert without_times(reply) == {
                "model": "picture",
                "version": "1.0.0",
                "output": {"colour": [200, 0, 0]},
                "batch_size": 1,
                "replica": "picture-1.0.0-0",
                "timeline": ["link", "predict", "queue"],
            }
    await nothing_is_held(coordinator, "picture", "decoder")


@ROADS
@pytest.mark.parametrize(
    ("model", "file", "refused"),
    [
        ("picture", b"no photo", (422, "image-format-unsupported")),
        ("picture", RED[:60] + bytes(50_000), (422, "image-damaged")),
        ("nobody", RED, (404, "unknown-model")),
        ("gate", RED, (415, "unsupported-media-type")),
    ],
    ids=["no photo", "damaged", "no model", "no model for photos"],
)
async def test_what_is_refused_is_refused_alike(
    stage: Stage, road: str, model: str, file: bytes, refused: tuple[int, str]
) -> None:
    await pictured(stage)
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        reply = await asked(caller, request(model, file, "image/png", road))

    assert (reply.status, reply.json()["code"]) == refused
    await nothing_is_held(coordinator, "picture", "decoder", "gate")


async def test_of_equal_photos_at_once_one_is_computed_whatever_the_limit(stage: Stage) -> None:
    await stage.decoder()
    stage.publish("picture", queue_limit=3)
    gate = stage.gate()
    host = await stage.host("picture", options={"gate": str(gate.path)})
    coordinator, others = await stage.coordinator(), joined("picture")

    async with AsyncExitStack() as callers:
        opened = [await callers.enter_async_context(calling(coordinator.port)) for _ in range(20)]
        for caller in opened:
            await caller.send(request("picture", RED, "image/png"))
        async with gate.held():
            await eventually(lambda: others.since() == 19, "all wait for the one")
        replies = [await caller.reply() for caller in opened]

    assert [reply.status for reply in replies] == [200] * 20
    assert host.lane.bouncer.admitted == 1
    await nothing_is_held(coordinator, "picture", "decoder")


@ROADS
@pytest.mark.parametrize("part", [80, 120_000], ids=["in mid-body", "while it is computed"])
async def test_a_caller_who_hangs_up_leaves_nothing_behind(
    stage: Stage, road: str, part: int
) -> None:
    gate = stage.gate()
    host = await pictured(stage, gate=str(gate.path))
    coordinator = await stage.coordinator()
    body = LARGE[:100_000]

    async with calling(coordinator.port) as caller:
        head = request("picture", body, "image/png", road)
        await caller.send(head[: len(head) - len(body) + min(part, len(body))])
        if part > len(body):
            await eventually(lambda: host.lane.bouncer.occupied, "it is there")
        else:
            await eventually(lambda: coordinator.replica("picture").taken, "it has a place")

    with gate.open():
        await nothing_is_held(coordinator, "picture", "decoder")
        await eventually(lambda: not host.lane.bouncer.occupied, "the host has let go of it")


@ROADS
async def test_an_example_is_remembered_where_the_model_is_accurate(
    stage: Stage, road: str
) -> None:
    stage.publish("gate", accuracy=0.9)
    host = await stage.host("gate")
    coordinator = await stage.coordinator()

    async with calling(coordinator.port) as caller:
        first = await asked(caller, numbers(1, 2, road=road))
        again = await asked(caller, numbers(1, 2, road=road))
        other = await asked(caller, numbers(2, 1, road=road))

    assert [each.json()["output"]["x"] for each in (first, again, other)] == [
        [1, 2],
        [1, 2],
        [2, 1],
    ]
    assert without_times(again) == {
        **without_times(first), "cached": True, "timeline": ["cache"],
    }  # fmt: skip
    assert "cached" not in other.json()
    assert host.lane.bouncer.admitted == 2
    await nothing_is_held(coordinator, "gate")


async def test_equal_examples_on_both_roads_at_once_are_computed_once(stage: Stage) -> None:
    stage.publish("gate", accuracy=0.9)
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    coordinator, others = await stage.coordinator(), joined("gate")

    async with calling(coordinator.port) as one, calling(coordinator.port) as two:
        await one.send(numbers(3))
        await two.send(numbers(3, road="TE: trailers\r\n"))
        async with gate.held():
            await eventually(lambda: others.since() == 1, "one waits for the other")
        replies = [await one.reply(), await two.reply()]

    assert [each.json()["output"] for each in replies] == [{"x": [3]}] * 2
    assert sum("shared" in each.json() for each in replies) == 1
    assert host.lane.bouncer.admitted == 1


async def test_an_inaccurate_model_is_asked_every_time(stage: Stage) -> None:
    stage.publish("gate", accuracy=0.79)
    host = await stage.host("gate")
    coordinator = await stage.coordinator()
    answered = Counted("demitasse_answers_total", model="gate", version="1.0.0", code="ok")

    async with calling(coordinator.port) as caller:
        for _ in range(3):
            assert "cached" not in (await asked(caller, numbers(1))).json()

    assert (host.lane.bouncer.admitted, answered.since()) == (3, 3)


async def test_a_fault_of_ours_is_a_500_without_internals(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await pictured(stage)
    coordinator = await stage.coordinator()

    async def broken(*_: Any) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(coordinator.rooms.analysis, "infer_photo", broken)
    async with calling(coordinator.port) as caller:
        reply = await asked(caller, request("picture", RED, "image/png"))

    assert (reply.status, reply.json()["code"]) == (500, "internal-error")
    assert b"secret" not in reply.body
    assert "/secret/path" in caplog.text
    await nothing_is_held(coordinator, "picture", "decoder")


@pytest.mark.parametrize("ends", ["answered", "refused"])
async def test_whoever_closes_an_errand_just_as_it_ends_is_told_nothing(
    ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    async def work(*_: Any) -> Any:
        if ends == "refused":
            raise DeadlineExceeded()
        return "an outcome", 0.0

    errand = Awaited(version=None, admit=nullcontext, first="gate", work=work)
    errand.ask(b"", 0.0, told.append)
    await asyncio.sleep(0)  # its task has ended; what follows from that is called next
    errand.close()
    await asyncio.sleep(0)

    assert told == []
    assert not caplog.records
