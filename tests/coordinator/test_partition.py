"""A coordinator and a minion on two machines, which here are network namespaces.

The line between them loses packets, or is cut without a word to either end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from stage import Coordinator, Stage

from coordinator.replica import Replica
from minion.host.spec import write_spec
from model_registry.leases import Replica as Lease
from tests.faults import THERE, Line, laid, why_no_lines
from tests.waiting import eventually

NOTICED_SECONDS = 3.0
CUT_SECONDS = 10.0
#: Of a machine with two cores and much to do.
SLACK_SECONDS = 1.5
PORT = 9000


@pytest.fixture
def line() -> Iterator[Line]:
    missing = why_no_lines()
    if missing:
        pytest.skip(missing)
    with laid(seed=7) as line:
        yield line


class Machines(NamedTuple):
    coordinator: Coordinator
    remote: Replica


@asynccontextmanager
async def two_machines(stage: Stage, line: Line) -> AsyncIterator[Machines]:
    """`far` is served beyond the line, `near` beside the coordinator."""
    secret = stage.home / "secret"
    secret.write_text("between you and me")
    secret.chmod(0o600)
    for model in ("far", "near"):
        stage.publish("gate", name=model)
    await stage.host("near")
    write_spec(stage.spec("far"), stage.home / "far.json")
    address = f"tcp:{THERE}:{PORT}"
    host = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", line.namespace, sys.executable, "-m", "minion.host"),
        *("--spec", str(stage.home / "far.json"), "--address", address),
        env={**os.environ, "DEMITASSE_LINK_SECRET_FILE": str(secret)},
        cwd=Path(__file__).parents[2],
    )
    line.carry()
    try:
        stage.leases.put(Lease("far-1.0.0-0", "far", "1.0.0", address, 1, host.pid), ttl=120)
        coordinator = await stage.coordinator(link_secret_file=str(secret))
        yield Machines(coordinator, coordinator.replica("far"))
        assert host.returncode is None, "nobody was started again"
    finally:
        host.terminate()
        await host.wait()
        line.drop()


async def test_with_five_packets_in_a_hundred_lost_every_request_gets_its_own_answer(
    stage: Stage, line: Line
) -> None:
    async with two_machines(stage, line) as (coordinator, _):
        line.loss = 0.05

        async def one_after_another(first: int) -> None:
            for value in range(first, first + 25):
                answer = await coordinator.infer("far", float(value), float(-value))
                assert answer.status_code == 200, answer.text
                assert answer.json()["output"]["x"] == [value, -value]

        await asyncio.gather(*(one_after_another(100 * n) for n in range(8)))

    assert line.dropped > 0


async def test_a_partition_is_noticed_in_three_seconds_touches_nobody_else_and_heals(
    stage: Stage, line: Line
) -> None:
    async with two_machines(stage, line) as (coordinator, remote):
        assert (await coordinator.infer("far", 1)).status_code == 200
        link, slowest = remote.link(), 0.0

        line.cut = True
        cut = time.monotonic()
        under_way = asyncio.create_task(
            coordinator.infer("far", 2, headers={"Demitasse-Timeout": "8"})
        )
        noticed = 0.0
        while time.monotonic() < cut + CUT_SECONDS:
            started = time.monotonic()
            assert (await coordinator.infer("near", 3)).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
            if not noticed and not remote.ready:
                noticed = time.monotonic() - cut
                refused = await coordinator.infer("far", 4)
                refusal = time.monotonic() - cut - noticed
        told = await under_way
        line.cut = False
        await eventually(lambda: remote.ready, "the link is back")

        assert 0 < noticed < NOTICED_SECONDS + SLACK_SECONDS
        assert (refused.status_code, refused.json()["code"]) == (503, "not-serving")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refusal < SLACK_SECONDS
        assert (told.status_code, told.json()["code"]) == (503, "not-serving")
        assert slowest < SLACK_SECONDS
        assert remote.link() is not link
        answer = await coordinator.infer("far", 5)
        assert answer.json()["output"]["x"] == [5.0]
        print(f"noticed after {noticed:.2f} s; slowest neighbour {slowest * 1000:.0f} ms")


async def test_what_was_under_way_in_a_short_partition_is_answered_after_it(
    stage: Stage, line: Line
) -> None:
    async with two_machines(stage, line) as (coordinator, remote):
        line.cut = True
        under_way = asyncio.create_task(coordinator.infer("far", 2))
        await eventually(lambda: not remote.ready, "it is noticed")

        line.cut = False
        answer = await under_way

        assert (answer.status_code, answer.json()["output"]["x"]) == (200, [2.0])
