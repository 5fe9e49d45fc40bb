"""Which requests are recorded as arrivals, by every road: once each, for each model."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from stage import Stage, photo

from coordinator.arrivals import Records, arrivals_folder, read_arrivals
from coordinator.decoder import DECODER
from tests.waiting import eventually
from wire.flows import caller_number

#: What `plain` does not recognise.
ON_AIOHTTPS_ROAD = {"Accept-Encoding": "identity", "Expect": "100-continue"}


async def recorded(stage: Stage, model: str, count: int) -> Records:
    """What is on disk, once there are so many."""
    folder = arrivals_folder(stage.home)

    def found() -> Records:
        return read_arrivals(folder, model, None, 0.0)

    await eventually(lambda: len(found()) >= count, f"{count} of {model} are recorded")
    return found()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.arrivals.WRITE_SECONDS", 0.01)


async def test_a_request_is_recorded_with_class_caller_and_size(stage: Stage):
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()
    before = time.time()

    headers = {"Demitasse-Class": "bulk", "Demitasse-Caller": "nightly", "Demitasse-Timeout": "7"}
    answer = await coordinator.infer("gate", 1.0, 2.0, headers=headers)

    assert answer.status_code == 200
    [arrival] = await recorded(stage, "gate", 1)
    assert before <= arrival["at"] <= time.time()
    assert arrival["caller"] == caller_number("nightly")
    assert (arrival["rank"], arrival["refused"]) == (1, 0)
    assert arrival["size_bytes"] == 2 * np.dtype(np.float32).itemsize
    assert 6 < arrival["timeout_seconds"] <= 7


async def test_who_is_refused_is_recorded_too(stage: Stage):
    stage.publish("gate", queue_limit=1)
    gate = stage.gate()
    await stage.host("gate", options={"gate": str(gate.path)})
    coordinator = await stage.coordinator()

    first = asyncio.create_task(coordinator.infer("gate", 1.0))
    async with gate.held():
        second = await coordinator.infer("gate", 1.0)
        third = await coordinator.infer("gate", 1.0, headers=ON_AIOHTTPS_ROAD)

    assert [each.status_code for each in (await first, second, third)] == [200, 429, 429]
    arrivals = await recorded(stage, "gate", 3)
    assert arrivals["refused"].tolist() == [0, 1, 1]


async def test_a_photo_is_recorded_for_the_decoder_and_for_each_model(stage: Stage):
    file = photo(1, 2, 3)
    await stage.decoder()
    for name in ("one", "two"):
        stage.publish("picture", name=name)
        await stage.host(name)
    coordinator = await stage.coordinator()

    assert (await coordinator.analyze(file)).status_code == 200

    [decoded] = await recorded(stage, DECODER, 1)
    [one], [two] = await recorded(stage, "one", 1), await recorded(stage, "two", 1)
    assert decoded["size_bytes"] == len(file)
    assert one["size_bytes"] == two["size_bytes"] == 8 * 8 * 3


async def test_a_model_without_room_for_a_photo_is_recorded_once(stage: Stage):
    await stage.decoder()
    for name, limit in (("one", 1), ("two", 64)):
        stage.publish("picture", name=name, queue_limit=limit)
        await stage.host(name)
    coordinator = await stage.coordinator()

    with coordinator.rooms.fleet.reserve("one", "1.0.0"):
        answer = await coordinator.analyze(photo(1, 2, 3))

    assert answer.json()["images"][0]["models"]["one"]["error"]["code"] == "queue-full"
    [two] = await recorded(stage, "two", 1)
    [one] = await recorded(stage, "one", 1)
    assert (one["refused"], two["refused"]) == (1, 0)


async def test_what_is_answered_from_memory_came_to_no_lane(stage: Stage):
    await stage.decoder()
    stage.publish("picture", name="one", accuracy=0.9)
    await stage.host("one")
    coordinator = await stage.coordinator()

    for _ in range(3):
        assert (await coordinator.analyze(photo(1, 2, 3))).status_code == 200
    assert (await coordinator.analyze(photo(4, 5, 6))).status_code == 200

    assert len(await recorded(stage, "one", 2)) == 2


async def test_what_is_noted_last_is_written_when_the_coordinator_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("coordinator.arrivals.WRITE_SECONDS", 3600)
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    assert (await coordinator.infer("gate", 1.0)).status_code == 200
    await stage.exits.aclose()

    assert len(await recorded(stage, "gate", 1)) == 1


async def test_nothing_is_recorded_where_that_is_turned_off(stage: Stage):
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator(arrivals_bytes=0)

    assert (await coordinator.infer("gate", 1.0)).status_code == 200
    await stage.exits.aclose()

    assert not arrivals_folder(stage.home).exists()
