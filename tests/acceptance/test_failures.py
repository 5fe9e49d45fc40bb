"""Processes are killed; what was accepted is answered, and what is gone comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.platform import (
    EXAMPLES,
    Platform,
    demitasse,
    eventually,
    kill,
    running,
)
from tests.packages import variant
from tests.processes import alive


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    packages = [EXAMPLES / "simulated", EXAMPLES / "noop"]
    with running(tmp_path_factory.mktemp("failures"), packages) as platform:
        yield platform


async def test_a_worker_killed_in_the_middle_of_a_batch_costs_nobody_an_answer(
    platform: Platform,
) -> None:
    async with httpx.AsyncClient(base_url=platform.url, timeout=60) as client:
        asked = [
            asyncio.create_task(
                client.post("/models/simulated/infer", json={"inputs": {"x": [float(i)]}})
            )
            for i in range(8)
        ]
        busy = await asyncio.to_thread(
            eventually,
            lambda: [w for w in platform.of("worker", "simulated") if w["state"] == "busy"],
            within=20,
            what="a busy worker",
        )
        kill(busy[0]["pid"])
        answers = await asyncio.gather(*asked)

    assert [answer.json()["output"]["x"] for answer in answers] == [float(i) for i in range(8)]


async def test_a_host_killed_with_requests_in_flight_costs_them_nothing_but_time(
    platform: Platform,
) -> None:
    (minion,) = await asyncio.to_thread(platform.of, "minion", "simulated")
    async with httpx.AsyncClient(base_url=platform.url, timeout=60) as client:
        asked = [
            asyncio.create_task(
                client.post("/models/simulated/infer", json={"inputs": {"x": [float(i)]}})
            )
            for i in range(8)
        ]
        await asyncio.to_thread(
            eventually,
            lambda: platform.occupied("simulated") >= 4,
            within=20,
            what="some of them in flight",
        )
        kill(minion["pid"])
        answers = await asyncio.gather(*asked)

    assert [answer.status_code for answer in answers] == [200] * 8
    assert [answer.json()["output"]["x"] for answer in answers] == [float(i) for i in range(8)]
    assert any("lost" in answer.json()["timeline_ms"] for answer in answers)


def test_a_killed_host_is_503_with_retry_after_until_it_is_back_and_others_answer(
    platform: Platform,
) -> None:
    (minion,) = platform.of("minion", "simulated")

    kill(minion["pid"])
    killed = time.monotonic()
    refused = eventually(
        lambda: (r := ask(platform, "simulated")).status_code == 503 and r, within=5, what="a 503"
    )
    other = ask(platform, "noop")
    eventually(lambda: ask(platform, "simulated").status_code == 200, within=15, what="its return")
    back = time.monotonic() - killed

    assert refused.json()["code"] == "not-serving"
    assert int(refused.headers["Retry-After"]) >= 1
    assert other.status_code == 200
    assert back < 3.0 + 1.5, "the model loads in no time, and predicts in half a second"


def test_a_killed_coordinator_is_started_again(platform: Platform) -> None:
    (coordinator,) = platform.of("coordinator")

    kill(coordinator["pid"])

    eventually(lambda: not alive(coordinator["pid"]), within=5, what="its end")
    eventually(lambda: answers(platform, "noop"), within=15, what="an answer of its successor")
    (successor,) = platform.of("coordinator")
    assert successor["pid"] != coordinator["pid"]


def test_two_coordinators_share_one_port_and_one_answers_when_the_other_is_killed(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "home", [EXAMPLES / "noop"], processes=2) as platform:
        first, second = platform.of("coordinator")
        gauges = platform.home / "run" / "metrics" / f"gauge_livesum_{first['pid']}.db"
        assert gauges.exists()

        kill(first["pid"])
        eventually(lambda: not alive(first["pid"]), within=5, what="its end")

        assert answers(platform, "noop")
        assert alive(second["pid"])
        eventually(lambda: not gauges.exists(), within=5, what="its memory being counted no more")


def test_two_versions_of_one_model_are_answered_by_different_processes(
    tmp_path: Path,
) -> None:
    simulated = EXAMPLES / "simulated"
    newer = variant(simulated, tmp_path, {'version = "1.0.0"': 'version = "1.1.0"'})
    with running(tmp_path / "home", [simulated, newer]) as platform:
        demitasse("alias", "simulated", "default", "1.1.0", home=platform.home)
        eventually(
            lambda: len(platform.of("minion", "simulated")) == 2 and platform.ready(),
            within=30,
            what="both versions",
        )
        eventually(platform.models_ready, within=10, what="their links")
        pinned = ask(platform, "simulated", "1.0.0").json()
        default = ask(platform, "simulated").json()

    assert (pinned["version"], default["version"]) == ("1.0.0", "1.1.0")
    assert pinned["output"]["pid"] != default["output"]["pid"]


def ask(platform: Platform, model: str, version: str | None = None) -> httpx.Response:
    path = (
        f"/models/{model}/infer" if version is None else f"/models/{model}/versions/{version}/infer"
    )
    # Each on a connection of its own: one that was kept may lead to who was killed.
    return httpx.post(platform.url + path, json={"inputs": {"x": [1.0]}}, timeout=60)


def answers(platform: Platform, model: str) -> bool:
    try:
        return ask(platform, model).status_code == 200
    except httpx.TransportError:
        return False
