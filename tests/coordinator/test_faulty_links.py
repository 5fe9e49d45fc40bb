"""Requests over links that fail in the ways that networks do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from stage import Coordinator, Host, Stage
from test_metrics import scraped, total

from coordinator.outstanding import settling
from minion.host.link import MAX_UNREAD_BYTES
from model_registry.leases import Replica as Lease
from tests.faults import Proxy, proxied
from tests.waiting import eventually
from wire.examples import Result
from wire.heartbeats import HEARTBEAT_SECONDS, SILENT_LOOKS
from wire.tensor import Tensor

#: Longer than an answer of the numbers below in one read.
LARGE = 30_000


@asynccontextmanager
async def behind(stage: Stage, host: Host) -> AsyncIterator[Proxy]:
    """Has coordinators reach this host through a proxy."""
    async with proxied(host.address, stage.home / f"{host.spec.replica}-proxy.sock") as proxy:
        place = host.place
        stage.leases.put(
            Lease(place.id, place.model, place.version, proxy.address, place.epoch, 1), ttl=60
        )
        yield proxy


@asynccontextmanager
async def two_replicas(stage: Stage) -> AsyncIterator[tuple[Coordinator, Proxy, Host]]:
    """The first behind a proxy and with more room, so that it gets the work."""
    stage.publish("gate")
    first = await stage.host("gate", queue_limit=64)
    second = await stage.host("gate", queue_limit=32, replica="gate-1.0.0-1")
    async with behind(stage, first) as proxy:
        coordinator = await stage.coordinator()
        fleet = coordinator.rooms.fleet
        replicas = lambda: fleet.replicas("gate", "1.0.0")  # noqa: E731
        await eventually(lambda: sum(each.ready for each in replicas()) == 2, "both are connected")
        yield coordinator, proxy, second


def of_the_first(coordinator: Coordinator) -> Any:
    return next(
        each
        for each in coordinator.rooms.fleet.replicas("gate", "1.0.0")
        if each.place.id == "gate-1.0.0-0"
    )


async def test_an_answer_that_is_cut_in_its_middle_is_had_from_another_replica(
    stage: Stage,
) -> None:
    async with two_replicas(stage) as (coordinator, proxy, _):
        numbers = [float(n) for n in range(LARGE)]
        before = total(await scraped(coordinator), "demitasse_second_attempts_total", model="gate")
        proxy.cut_after(10_000)

        answer = await coordinator.infer("gate", *numbers)

        assert (answer.status_code, proxy.cuts) == (200, 1)
        assert answer.json()["output"]["x"] == numbers
        assert answer.json()["replica"] == "gate-1.0.0-1"
        assert answer.json()["timeline_ms"]["lost"] > 0
        explained = await coordinator.admin.get(f"/requests/{answer.json()['request_id']}")
        [record] = explained.json()["records"]
        [part] = record["models"]
        assert (part["replica"], part["lost_replica"]) == ("gate-1.0.0-1", "gate-1.0.0-0")
        assert sum(record["phases_ms"].values()) == pytest.approx(record["total_ms"], abs=0.01)
        after = total(await scraped(coordinator), "demitasse_second_attempts_total", model="gate")
        assert after == before + 1
        first = of_the_first(coordinator)
        await eventually(lambda: first.ready, "the link is back, without a restart")
        assert first.taken == 0


async def test_half_a_second_of_delay_costs_half_a_second_each_way_and_no_link(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    async with behind(stage, host) as proxy:
        coordinator = await stage.coordinator()
        link = coordinator.replica("gate").link()
        proxy.delay_seconds = 0.5
        started, asked = time.monotonic(), 0

        while time.monotonic() - started < HEARTBEAT_SECONDS * (SILENT_LOOKS + 2):
            answer = await coordinator.infer("gate", float(asked))
            assert answer.json()["output"]["x"] == [float(asked)]
            asked += 1

        assert coordinator.replica("gate").link() is link
        assert not link.closed.done()


async def test_large_answers_over_a_slow_line_are_waited_for_by_a_host_that_reads_nothing_meanwhile(
    stage: Stage,
) -> None:
    """It has more to send with every look, since answers are made faster than they leave."""
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    large = Tensor.from_array(np.arange(2**19, dtype=np.float32))  # of 2 MiB, as is its answer
    at_once = MAX_UNREAD_BYTES // len(large.data) + 2
    soon = int(2 * SILENT_LOOKS * HEARTBEAT_SECONDS / 0.25)
    async with behind(stage, host) as proxy:
        coordinator = await stage.coordinator()
        link = coordinator.replica("gate").link()
        proxy.bytes_per_second = 3e6
        answered: list[asyncio.Future[Any]] = []
        for _ in range(at_once + soon):
            answered.append(asyncio.get_running_loop().create_future())
            link.predict({"x": large}, {}, time.monotonic() + 60, settling(answered[-1]))
        await eventually(lambda: host.lane.bouncer.occupied == len(answered), "all are there")
        with gate.open(at_once) as opened:
            for _ in range(soon):
                await asyncio.sleep(0.25)
                opened()
            proxy.bytes_per_second = 0.0
            outcomes = await asyncio.gather(*answered)

        assert [type(each) for each in outcomes] == [Result] * len(answered)
        assert not link.ending


async def test_a_half_open_link_is_noticed_and_another_replica_answers(stage: Stage) -> None:
    async with two_replicas(stage) as (coordinator, proxy, second):
        first = of_the_first(coordinator)
        admitted = second.lane.bouncer.admitted
        proxy.stop_flowing()
        asked = [asyncio.create_task(coordinator.infer("gate", float(n))) for n in range(8)]

        await eventually(lambda: not first.ready, "it is noticed")
        new = await coordinator.infer("gate", 99.0)
        answers = await asyncio.gather(*asked)

        assert [each.json()["output"]["x"] for each in answers] == [[float(n)] for n in range(8)]
        assert new.json()["replica"] == "gate-1.0.0-1"
        assert second.lane.bouncer.admitted == admitted + 9
        assert first.taken == 0
        proxy.flow()
        await eventually(lambda: first.ready, "it is healed, without a restart")


async def test_with_nobody_else_a_half_open_link_costs_a_503_in_time_and_then_at_once(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    async with behind(stage, host) as proxy:
        coordinator = await stage.coordinator()
        replica = coordinator.replica("gate")
        proxy.stop_flowing()
        timeout = {"headers": {"Demitasse-Timeout": "5"}}
        asked = asyncio.create_task(coordinator.infer("gate", 1.0, **timeout))

        await eventually(lambda: not replica.ready, "it is noticed")
        started = time.monotonic()
        refused = await coordinator.infer("gate", 2.0)
        at_once = time.monotonic() - started
        waited = await asked

        for each in (refused, waited):
            assert (each.status_code, each.json()["code"]) == (503, "not-serving")
            assert int(each.headers["Retry-After"]) >= 1
        assert at_once < 1.0
        proxy.flow()
        await eventually(lambda: replica.ready, "it is healed, without a restart")
        assert (await coordinator.infer("gate", 3.0)).json()["output"]["x"] == [3.0]


async def test_answers_meet_their_own_requests_however_often_links_are_cut(stage: Stage) -> None:
    chance = random.Random(5)
    async with two_replicas(stage) as (coordinator, proxy, _):
        for wave in range(6):
            first = of_the_first(coordinator)
            await eventually(lambda r=first: r.ready, "the link is back")
            values = [float(100 * wave + n) for n in range(24)]
            proxy.cut_after(chance.randrange(1, 900))

            answers = await asyncio.gather(*(coordinator.infer("gate", v, -v) for v in values))

            assert [each.status_code for each in answers] == [200] * 24
            assert [each.json()["output"]["x"] for each in answers] == [[v, -v] for v in values]
        assert proxy.cuts >= 3
        await eventually(lambda: of_the_first(coordinator).ready, "the link is back")
        for each in coordinator.rooms.fleet.all():
            assert each.taken == 0
        assert len(coordinator.rooms.fleet.second_attempts) == 0


async def test_a_version_that_is_not_pure_is_asked_once(stage: Stage) -> None:
    stage.publish("gate", pure=False)
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    async with behind(stage, host) as proxy:
        coordinator = await stage.coordinator()
        asked = asyncio.create_task(coordinator.infer("gate", 1.0))
        async with gate.held():
            proxy.cut_after(0)

            lost = await asked

        assert (lost.status_code, lost.json()["code"]) == (422, "worker-crashed")
        assert lost.json()["retryable"] is False
        assert host.lane.bouncer.admitted == 1
