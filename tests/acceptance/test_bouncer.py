"""The device made of arithmetic, t(n) = 0.2 s + 0.3 s * n, against the promise."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.platform import EXAMPLES, Platform, demitasse, eventually, running
from tests.packages import variant

#: What a test may lose to two busy cores, on top of the arithmetic.
TOLERANCE = 1.10


async def ask(
    client: httpx.AsyncClient, model: str, value: float = 1.0
) -> tuple[float, httpx.Response]:
    started = time.monotonic()
    response = await client.post(f"/models/{model}/infer", json={"inputs": {"x": [value]}})
    return time.monotonic() - started, response


async def burst(platform: Platform, model: str, count: int) -> list[tuple[float, httpx.Response]]:
    async with httpx.AsyncClient(base_url=platform.url, timeout=60) as client:
        return await asyncio.gather(*(ask(client, model, float(i)) for i in range(count)))


def tune_queue_limit(platform: Platform, limit: int) -> subprocess.CompletedProcess[str]:
    return demitasse("tune", "simulated", "--queue-limit", str(limit), home=platform.home)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("simulated"), [EXAMPLES / "simulated"]) as platform:
        yield platform


async def test_of_eleven_at_once_ten_are_answered_within_the_promise_and_one_is_told_when_to_return(
    simulated: Platform,
) -> None:
    results = await burst(simulated, "simulated", 11)

    answered = [(seconds, each) for seconds, each in results if each.status_code == 200]
    refused = [each for _, each in results if each.status_code == 429]
    assert (len(answered), len(refused)) == (10, 1)
    assert max(seconds for seconds, _ in answered) <= 5.0 * TOLERANCE
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert refused[0].json()["code"] == "queue-full"
    assert refused[0].json()["retryable"] is True
    assert sorted(each.json()["output"]["x"] for _, each in answered) == sorted(
        float(i) for i, (_, each) in enumerate(results) if each.status_code == 200
    )


async def test_after_the_burst_there_is_room_again(simulated: Platform) -> None:
    await burst(simulated, "simulated", 11)

    ((_, response),) = await burst(simulated, "simulated", 1)

    assert response.status_code == 200


async def test_tuning_holds_for_the_next_burst_and_loses_nothing_in_flight(
    simulated: Platform,
) -> None:
    before = {each["pid"] for each in simulated.status()}
    flying = asyncio.create_task(burst(simulated, "simulated", 6))
    await asyncio.to_thread(
        eventually, lambda: simulated.occupied("simulated") == 6, within=10, what="six inside"
    )
    try:
        told = await asyncio.to_thread(tune_queue_limit, simulated, 3)
        in_flight = await flying
        next_burst = await burst(simulated, "simulated", 8)
    finally:
        await asyncio.to_thread(tune_queue_limit, simulated, 10)

    assert told.returncode == 0
    assert [each.status_code for _, each in in_flight] == [200] * 6
    assert sorted(each.status_code for _, each in next_burst) == [200] * 3 + [429] * 5
    assert {each["pid"] for each in simulated.status()} == before


async def test_one_worker_and_batches_of_two_answer_two_at_once_in_one_batch(
    tmp_path: Path,
) -> None:
    package = variant(
        EXAMPLES / "simulated",
        tmp_path,
        {'name = "simulated"': 'name = "pair"', "max_batch_size = 1": "max_batch_size = 2"},
    )
    with running(tmp_path / "home", [package]) as platform:
        results = await burst(platform, "pair", 2)

    assert [each.json()["batch_size"] for _, each in results] == [2, 2]
    assert all(0.8 <= seconds <= 0.8 * TOLERANCE + 0.1 for seconds, _ in results)


async def test_two_workers_answer_two_at_once_side_by_side(
    tmp_path: Path,
) -> None:
    package = variant(
        EXAMPLES / "simulated",
        tmp_path,
        {'name = "simulated"': 'name = "twins"', "workers = 1": "workers = 2"},
    )
    with running(tmp_path / "home", [package]) as platform:
        eventually(
            lambda: [w["state"] for w in platform.of("worker", "twins")] == ["idle", "idle"],
            within=30,
            what="both workers",
        )
        results = await burst(platform, "twins", 2)

    assert all(0.5 <= seconds <= 0.5 * TOLERANCE + 0.1 for seconds, _ in results)


async def test_a_promise_of_five_seconds_admits_ten_and_follows_a_device_that_slows_down(
    tmp_path: Path,
) -> None:
    """A tenth of the time: 0.5 s promised, 50 ms for one, then 100 ms."""
    pace = tmp_path / "pace"
    package = variant(
        EXAMPLES / "simulated",
        tmp_path,
        {
            'name = "simulated"': 'name = "promising"',
            "queue_limit = 10": 'promise = "500ms"',
            "scale = 1.0": f'scale = 0.1\nscale_file = "{pace}"',
        },
    )
    with running(tmp_path / "home", [package]) as platform:
        async with httpx.AsyncClient(base_url=platform.url, timeout=60) as client:

            async def limit() -> int:
                model = (await client.get("/models/promising")).json()
                return int(model["admission"][0]["limit"])

            async def settled(low: int, high: int) -> bool:
                for _ in range(60):
                    await ask(client, "promising")
                    if low <= await limit() <= high:
                        return True
                return False

            # Two busy cores may stretch a batch of 50 ms by some.
            assert await settled(8, 10)
            pace.write_text("2")
            assert await settled(3, 5)
