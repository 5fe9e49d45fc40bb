"""Whether one caller with many holds up others with one each.

A device made of arithmetic (examples/simulated at a tenth: 50 ms an example, one at a
time) behind the platform's public door. First 20 callers ask once each, all at the same
moment, of an idle platform; then the same 20 while another caller has 200 waiting, who
then hangs up. Rounds alternate; shown are the medians over rounds of the 20 callers' median
and 95th percentile, and by how much the second is worse. Fails past the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.packages import variant
from benchmarks.servers import EXAMPLES, demitasse, machine

ROUNDS = 5
MANY = 200
OTHERS = 20
#: How much worse the others' 95th percentile may be beside the one with many.
BOUND = 1.5
_PATH = "/models/simulated/infer"
_CHANGES = {"scale = 1.0": "scale = 0.1", "queue_limit = 10": f"queue_limit = {MANY + OTHERS}"}


@contextlib.contextmanager
def package() -> Iterator[Path]:
    """The example, quicker and with room for everybody."""
    with tempfile.TemporaryDirectory() as told:
        yield variant(EXAMPLES / "simulated", Path(told), _CHANGES)


async def ask(client: httpx.AsyncClient, caller: str) -> float:
    """Seconds from the request to its answer."""
    started = time.perf_counter()
    headers = {"Demitasse-Caller": caller}
    answer = await client.post(_PATH, json={"inputs": {"x": [1.0]}}, headers=headers)
    answer.raise_for_status()
    return time.perf_counter() - started


async def ask_once_each(client: httpx.AsyncClient) -> list[float]:
    return await asyncio.gather(*(ask(client, f"caller-{n}") for n in range(OTHERS)))


@contextlib.asynccontextmanager
async def many_waiting(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """One caller's requests, of which the first has been answered; they are hung up on then."""
    asked = [asyncio.create_task(ask(client, "many")) for _ in range(MANY)]
    try:
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def measure(url: str, rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    """The others' latencies, round by round: alone, and beside the one with many."""
    alone, beside = [], []
    limits = httpx.Limits(max_connections=None)
    for _ in range(rounds):
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            await ask(client, "warm-up")  # what was abandoned in the round before has ended
            alone.append(await ask_once_each(client))
        async with (
            httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client,
            many_waiting(client),
        ):
            beside.append(await ask_once_each(client))
    return alone, beside


def p95(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=20, method="inclusive")[-1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fairness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with package() as folder, demitasse([folder]) as server:
        alone, beside = asyncio.run(measure(server.url, arguments.rounds))
    table = Table("others", "p50 ms", "p95 ms", title=f"{OTHERS} callers with one each")
    for name, measured in (("alone", alone), (f"beside {MANY} of one caller", beside)):
        middle, tail = (
            statistics.median(map(what, measured)) * 1000 for what in (statistics.median, p95)
        )
        table.add_row(name, f"{middle:.0f}", f"{tail:.0f}")
    ratio = statistics.median(map(p95, beside)) / statistics.median(map(p95, alone))
    console = Console()
    console.print(table)
    console.print(f"p95 beside / alone: {ratio:.2f}, at most {BOUND}; {machine()}")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
