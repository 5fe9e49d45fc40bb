"""One caller with many does not hold up others with one each: the order, without a stopwatch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.acceptance.platform import EXAMPLES, eventually, running
from tests.packages import variant

MANY, OTHERS = 200, 20


async def test_twenty_with_one_each_are_answered_before_the_many_of_another(
    tmp_path: Path,
) -> None:
    package = variant(
        EXAMPLES / "simulated",
        tmp_path,
        {
            'name = "simulated"': 'name = "crowded"',
            "queue_limit = 10": f"queue_limit = {MANY + OTHERS}",
            "scale = 1.0": "scale = 0.06",
        },
    )
    answered: list[str] = []

    async def ask(client: httpx.AsyncClient, caller: str) -> None:
        response = await client.post(
            "/models/crowded/infer",
            json={"inputs": {"x": [1.0]}},
            headers={"Demitasse-Caller": caller},
        )
        assert response.status_code == 200, response.text
        answered.append(caller)

    with running(tmp_path / "home", [package]) as platform:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=platform.url, timeout=60, limits=limits) as client:
            many = [asyncio.create_task(ask(client, "many")) for _ in range(MANY)]
            await asyncio.to_thread(
                eventually, lambda: platform.occupied("crowded") > MANY // 2, within=30, what="many"
            )
            await asyncio.gather(*(ask(client, f"caller-{n}") for n in range(OTHERS)))
            before = answered.count("many")
            await asyncio.gather(*many)

    # In the order of arrival all the many would have come first.
    assert before <= 3 * MANY // 4
    assert len(answered) == MANY + OTHERS
