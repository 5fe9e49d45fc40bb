"""Do those come in who come back when they were told to?

The device made of arithmetic (0.5 s for one) gets a burst of sixty at once. Those
who are refused try once more: after what the problem document says, after the
header's whole seconds, or after a constant second, each in a burst of its own.
Prints one table; takes about a minute and a half.

    python -m benchmarks.retry http://127.0.0.1:8080
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx

BURST = 60
BODY = {"inputs": {"x": [1.0]}}
#: An empty lane before every burst.
IDLE_SECONDS = 1.0

Wait = Callable[[httpx.Response], float]
WAITS: dict[str, Wait] = {
    "retry_after": lambda refused: float(refused.json()["retry_after"]),
    "Retry-After": lambda refused: float(refused.headers["Retry-After"]),
    "1 s": lambda refused: 1.0,
}


class Tried(NamedTuple):
    """One caller: refused at first or not, and whether the second attempt was answered."""

    refused: bool
    admitted: bool
    waited: float


async def attempt(client: httpx.AsyncClient, model: str, wait: Wait) -> Tried:
    path = f"/models/{model}/infer"
    response = await client.post(path, json=BODY)
    if response.status_code != 429:
        return Tried(False, response.status_code == 200, 0.0)
    seconds = wait(response)
    await asyncio.sleep(seconds)
    again = await client.post(path, json=BODY)
    return Tried(True, again.status_code == 200, seconds)


async def burst(url: str, model: str, wait: Wait) -> list[Tried]:
    limits = httpx.Limits(max_connections=BURST)
    async with httpx.AsyncClient(base_url=url, timeout=90, limits=limits) as client:
        return await asyncio.gather(*(attempt(client, model, wait) for _ in range(BURST)))


async def idle(url: str, model: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=90) as client:
        await client.post(f"/models/{model}/infer", json=BODY)
    await asyncio.sleep(IDLE_SECONDS)


async def measure(url: str, model: str) -> None:
    print(f"{'wait':12} {'refused':>8} {'admitted':>9} {'share':>6} {'longest':>8} {'took':>7}")
    for name, wait in WAITS.items():
        await idle(url, model)
        started = time.monotonic()
        refused = [each for each in await burst(url, model, wait) if each.refused]
        admitted = sum(each.admitted for each in refused)
        share = admitted / max(len(refused), 1)
        longest = max((each.waited for each in refused), default=0.0)
        took = time.monotonic() - started
        print(
            f"{name:12} {len(refused):8} {admitted:9} {share:6.0%} {longest:6.1f} s {took:5.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="simulated")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.url, arguments.model))


if __name__ == "__main__":
    main()
