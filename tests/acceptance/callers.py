"""Callers who notice everything: each request, and what became of it, by how its connection fared.

`python -m tests.acceptance.callers URL` is a process of its own, so that it competes
with nobody for an interpreter. In an open loop, half of its requests take a connection
that was kept, half of them a new one. It asks until its input ends, and prints what
it saw as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

#: Longer than the grace and the start of a platform together.
PATIENCE_SECONDS = 20.0
#: Connections at a time while it is found out how many requests a second there can be.
AT_ONCE = 32
CALIBRATION_SECONDS = 2.0

RIGHT, TOLD, REFUSED, CUT, HUNG = "right", "told", "refused", "cut", "hung"
CUT_KEPT = "cut, kept"
"""As `cut`, on a connection that had been answered before: the caller may have been too late."""
_BODY = b'{"inputs": {"x": [1.0]}}'


class Connection(asyncio.Protocol):
    """One at a time."""

    def __init__(self) -> None:
        self.open = False
        self.answered = 0
        self._data = b""
        self._waiting: asyncio.Future[str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return
        self._data = b""
        self.answered += 1
        if fields.get(b"connection") == b"close":
            self.open = False
            self.transport.close()
        status = head.split(b" ", 2)[1]
        self._settle(RIGHT if status == b"200" else f"{TOLD} {status.decode()}")

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._settle(CUT_KEPT if self.answered else CUT)

    def _settle(self, saw: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(saw)

    async def ask(self, request: bytes) -> str:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._waiting
        except TimeoutError:
            return HUNG
        finally:
            self._waiting = None


class Callers:
    """All of them, and what they saw."""

    def __init__(self, url: str, seed: int) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        self._place = place.hostname, place.port
        self._request = (
            f"POST /models/noop/infer HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
        ).encode() + _BODY
        self._draw = random.Random(seed)
        self._idle: collections.deque[Connection] = collections.deque()
        self.saw: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    async def at_once(self, seconds: float) -> float:
        """As many requests a second as there can be, of the same kinds as in the open loop."""
        until = time.monotonic() + seconds

        async def one_after_another() -> int:
            count = 0
            while time.monotonic() < until:
                await self._ask()
                count += 1
            return count

        counts = await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        return sum(counts) / seconds

    async def ask_until(self, over: asyncio.Event, rate: float) -> None:
        """In an open loop; returns when all that set out have ended."""
        asked: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not over.is_set():
            due += self._draw.expovariate(rate)
            wait = due - time.monotonic()
            await asyncio.sleep(max(wait, 0))
            task = asyncio.create_task(self._ask())
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)

    async def _ask(self) -> None:
        began = time.monotonic()
        keep = self._draw.random() < 0.5
        connection = self._kept() if keep else None
        if connection is None:
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, *self._place
                )
            except OSError:
                self.saw[REFUSED] += 1
                return
        saw = await connection.ask(self._request)
        self.saw[saw] += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        if keep and connection.open:
            self._idle.append(connection)
        else:
            connection.transport.close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.open:
                return connection
        return None


class Seen:
    """What callers saw until the block was left."""

    counts: dict[str, int]
    rate: float
    """Requests a second."""
    slowest: float
    """Seconds, of one request."""

    def other_than(self, *expected: str) -> dict[str, int]:
        return {saw: count for saw, count in self.counts.items() if saw not in expected}


@contextlib.contextmanager
def calling(url: str, *, load: float, rate: float | None = None) -> Iterator[Seen]:
    """Callers at a share of what the platform can do, found out before the block begins.

    Args:
        rate: requests a second of which it is a share, where that is known.
    """
    command = [sys.executable, "-m", "tests.acceptance.callers", url, "--load", str(load)]
    if rate is not None:
        command += ["--rate", str(rate)]
    seen = Seen()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            seen.rate = float(process.stdout.readline())
            yield seen
        finally:
            process.stdin.close()
            told: dict[str, Any] = json.loads(process.stdout.readline())
            seen.counts, seen.slowest = told["saw"], told["slowest"]


async def _main(url: str, load: float, rate: float | None) -> None:
    callers = Callers(url, seed=1)
    rate = load * (rate or await callers.at_once(CALIBRATION_SECONDS))
    callers.saw.clear()
    callers.slowest = 0.0
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)  # its end can be read
    print(rate, flush=True)
    await callers.ask_until(over, rate)
    print(json.dumps({"saw": callers.saw, "slowest": callers.slowest}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--load", type=float, required=True)
    parser.add_argument("--rate", type=float)
    chosen = parser.parse_args()
    uvloop.run(_main(chosen.url, chosen.load, chosen.rate))
