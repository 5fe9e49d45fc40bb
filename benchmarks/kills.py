"""What callers notice while workers are killed, and stopped, at half of what the platform can do.

`python -m benchmarks.kills`: two models with two workers each, the device made of arithmetic
and a forest of scikit-learn, each with callers in an open loop at half of its capacity, which
was measured with both under load. Every request has a payload of its own and an answer that
is known. For a minute a random worker is killed each second. For another minute one is stopped
(SIGSTOP) every five seconds, and its host is asked until another is in its place. Fails where a
request was not answered rightly, or a stopped worker was there for longer than a second more
than `predict_timeout`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.openloop import LOST, Arrivals, Phase, is_whole
from benchmarks.packages import variant
from benchmarks.servers import EXAMPLES, Server, demitasse, machine

WORKERS = 2
SHARE = 0.5
CONNECTIONS = 24
#: With one worker of two, half of what both can do is all that there is: then a queue grows.
QUEUE_LIMIT = 512
CAPACITY_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
KILL_SECONDS, STOP_SECONDS = 1.0, 5.0
PREDICT_TIMEOUT_SECONDS, MORE_SECONDS = 1.0, 1.0
FOREST = Path(__file__).parent / "models" / "forest"
RESOURCES = f"""workers = {WORKERS}
predict_timeout = "{PREDICT_TIMEOUT_SECONDS:g}s"
"""
console = Console(width=140)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Request(NamedTuple):
    model: str
    body: bytes
    right: bytes
    """What stands in its answer."""

    def data(self) -> bytes:
        """As it goes over the connection."""
        head = (
            f"POST /models/{self.model}/infer HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class Row(NamedTuple):
    """What came of one request."""

    seconds: float
    """From when it was due."""
    status: int
    """Or LOST."""
    right: bool
    said: str
    """What was asked and answered, where that was not right."""


def packages(folder: Path) -> list[Path]:
    simulated = {
        "scale = 1.0": "scale = 0.02",
        "queue_limit = 10": f"queue_limit = {QUEUE_LIMIT}",
        "max_batch_size = 1": "max_batch_size = 8",
        'workers = 1\nthreads = 1\npredict_timeout = "60s"\n': RESOURCES,
    }
    batching = '[batching]\nmax_batch_size = 8\nmax_queue_delay = "2ms"\n'
    admission = f"[admission]\nqueue_limit = {QUEUE_LIMIT}\n"
    tables = f"{batching}{admission}[resources]\n{RESOURCES}"
    return [
        variant(EXAMPLES / "simulated", folder, simulated),
        variant(FOREST, folder, {"[output.label]": f"{tables}[output.label]"}),
    ]


def arithmetic(chance: random.Random, number: int) -> Request:
    return Request("simulated", b'{"inputs": {"x": [%d]}}' % number, b'"x":%d.0' % number)


def leaves(chance: random.Random, number: int) -> Request:
    """Sixteen numbers that the forest cannot mistake."""
    label = number % 2
    values = [round(0.05 + 0.8 * label + 0.1 * chance.random(), 6) for _ in range(16)]
    body = f'{{"inputs": {{"x": {values}}}}}'.encode()
    return Request("forest", body, b'"label":%d' % label)


KINDS = {"simulated": arithmetic, "forest": leaves}


async def ask(request: Request, connection: Connection, due: float) -> Row:
    """What comes of it, from when it was due on the performance counter."""
    reader, writer = connection
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(request.data())
            while not is_whole(answer):
                more = await reader.read(65536)
                if not more:
                    break
                answer += more
    except OSError as error:  # a timeout is one
        answer = repr(error).encode()
    status = int(answer[9:12]) if is_whole(answer) else LOST
    right = status == 200 and request.right in answer
    said = "" if right else f"{request.body!r} got {answer[:400]!r}"
    return Row(time.perf_counter() - due, status, right, said)


class Callers:
    """Of one model, in an open loop."""

    def __init__(self, port: int, make: Callable[[random.Random, int], Request]) -> None:
        self.rows: list[Row] = []
        self._port = port
        self._make = make
        self._idle: list[Connection] = []

    async def offer(self, moments: list[float]) -> None:
        """One request at each, in seconds from now; ends when all have."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            for number, moment in enumerate(moments):
                await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
                requests.create_task(self._one(number, began + moment))

    async def fill(self, seconds: float) -> float:
        """Answers per second of a closed loop."""
        ends = time.perf_counter() + seconds
        numbers = itertools.count()

        async def one_after_the_other() -> None:
            while (now := time.perf_counter()) < ends:
                await self._one(next(numbers), now)

        await asyncio.gather(*(one_after_the_other() for _ in range(CONNECTIONS)))
        return len(self.rows) / seconds

    async def _one(self, number: int, due: float) -> None:
        request = self._make(random.Random(number), number)
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await asyncio.open_connection("127.0.0.1", self._port)
        row = await ask(request, connection, due)
        self.rows.append(row)
        if row.right:
            self._idle.append(connection)
        else:
            connection[1].close()


class Workers:
    """Of all models: strikes one of them now and then.

    Args:
        hosts: where each answers, by model.
    """

    def __init__(self, hosts: dict[str, str], seed: int) -> None:
        self.struck = 0
        self.replaced: list[float] = []
        """After how many seconds."""
        self._draw = random.Random(seed)
        self._clients = [
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=uds), base_url="http://minion", timeout=10
            )
            for uds in hosts.values()
        ]

    async def kill(self) -> None:
        while True:
            await asyncio.sleep(KILL_SECONDS)
            await self._strike(signal.SIGKILL)

    async def stop(self) -> None:
        while True:
            await asyncio.sleep(STOP_SECONDS)
            host, pid = await self._strike(signal.SIGSTOP)
            began = time.monotonic()
            while True:
                pids = await self._loaded(host)
                if pid not in pids and len(pids) == WORKERS:
                    break
                await asyncio.sleep(0.02)
            self.replaced.append(time.monotonic() - began)

    async def _strike(self, number: signal.Signals) -> tuple[httpx.AsyncClient, int]:
        while True:
            host = self._draw.choice(self._clients)
            if pids := await self._loaded(host):
                pid = self._draw.choice(pids)
                os.kill(pid, number)
                self.struck += 1
                return host, pid

    async def _loaded(self, host: httpx.AsyncClient) -> list[int]:
        workers: list[dict[str, Any]] = (await host.get("/status")).json()["workers"]
        return [each["pid"] for each in workers if each["state"] in ("idle", "busy")]


def callers_of(server: Server) -> dict[str, Callers]:
    port = urlsplit(server.url).port or 80
    return {model: Callers(port, make) for model, make in KINDS.items()}


async def half(server: Server) -> dict[str, float]:
    """Requests per second, model by model: half of what both answer when all are asked."""
    callers = callers_of(server)
    full = await asyncio.gather(*(each.fill(CAPACITY_SECONDS) for each in callers.values()))
    return {model: SHARE * rate for model, rate in zip(callers, full, strict=True)}


async def under(
    server: Server, rates: dict[str, float], seconds: float, strike: Callable[[], Awaitable[None]]
) -> dict[str, list[Row]]:
    """What callers see, model by model, while something strikes."""
    striking = asyncio.ensure_future(strike())
    callers = callers_of(server)
    async with asyncio.TaskGroup() as models:
        for seed, (model, each) in enumerate(callers.items()):
            arrivals = Arrivals([Phase(rates[model], seconds)], seed=seed)
            models.create_task(each.offer(arrivals.moments()))
    striking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await striking
    return {model: each.rows for model, each in callers.items()}


def show(title: str, seen: dict[str, list[Row]]) -> list[str]:
    """Prints a table; what was not answered rightly."""
    table = Table(title=title, title_justify="left")
    for heading in ("model", "sent", "right", "wrong", "failed", "429", "503", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    found = []
    for model, rows in seen.items():
        others = [row for row in rows if not row.right]
        counts = Counter(row.status for row in others)
        failed = len(others) - counts[200] - counts[429] - counts[503]
        p50, p99 = np.quantile([1000 * row.seconds for row in rows], (0.5, 0.99))
        numbers = (len(rows), len(rows) - len(others), counts[200], failed)
        times = (f"{p50:.1f}", f"{p99:.1f}")
        table.add_row(model, *map(str, (*numbers, counts[429], counts[503])), *times)
        found += [row.said for row in others]
    console.print(table)
    return found


async def measure(server: Server, seconds: float) -> list[str]:
    """Prints tables; what should not have been."""
    rates = await half(server)
    console.print(", ".join(f"{model}: {rate:.0f} a second" for model, rate in rates.items()))
    hosts = {
        each.model: each.address.removeprefix("unix:")
        for each in server.status().processes
        if each.role == "minion" and each.model and each.address
    }
    found: list[str] = []
    workers = Workers(hosts, 1)
    for title, strike in (
        ("calm", asyncio.Event().wait),
        ("a worker killed each second", workers.kill),
    ):
        seen = await under(server, rates, seconds, strike)
        found += show(title, seen)
    console.print(f"{workers.struck} workers were killed")
    found += show(
        f"a worker stopped every {STOP_SECONDS:g} s",
        await under(server, rates, seconds, workers.stop),
    )
    longest = max(workers.replaced, default=0.0)
    console.print("replaced after, s:", ", ".join(f"{each:.2f}" for each in workers.replaced))
    if longest > PREDICT_TIMEOUT_SECONDS + MORE_SECONDS or not workers.replaced:
        found.append(f"replaced after {longest:.2f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    told = parser.parse_args()
    console.print(machine())
    with (
        tempfile.TemporaryDirectory() as folder,
        demitasse(packages(Path(folder))) as server,
    ):
        found = uvloop.run(measure(server, told.seconds))
    for each in found[:20]:
        console.print(each, markup=False)
    sys.exit(f"not passed: {len(found)} findings" if found else 0)


if __name__ == "__main__":
    main()
