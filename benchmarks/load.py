"""A closed-loop client: so many connections, one request each at a time.

wrk where it is installed; else a client in Python with uvloop, which says so.
Either runs in a process of its own, so that its CPU is not counted among the
servers'. Within one run all servers meet the same client.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.requests import Request, pool

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_SECONDS = 60


class Load(NamedTuple):
    """What the client saw."""

    requests: int
    """That were answered."""
    failed: int
    """Of those, and of those that were not: another status than 200, or no answer."""
    seconds: float
    p50_ms: float
    p99_ms: float


class NoConnection(Exception):
    """The client ended without figures: nobody listens."""


@functools.cache
def wrk() -> str | None:
    """Where wrk is; says once when it is not there."""
    found = shutil.which("wrk")
    if found is None:
        print("wrk is not installed (Debian: apt-get install wrk): a slower client takes its place")
    return found


def load(url: str, request: Request, *, connections: int, seconds: float) -> Load:
    """Send for so long; wrk knows whole seconds only.

    Raises:
        NoConnection: nobody listens.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file = Path(folder) / "request"
        # Twice as many: a connection never meets the number that a slower one still waits for.
        arguments = [str(file), str(request.write(url, file)), str(2 * connections)]
        if wrk():
            command = [
                "wrk", "--threads", "1", "--connections", str(connections),
                "--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_SECONDS}s",
                "--script", str(WRK_SCRIPT), url, "--", *arguments,
            ]  # fmt: skip
        else:
            command = [
                sys.executable, "-m", "benchmarks.load", url, str(connections), str(seconds),
                *arguments,
            ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise NoConnection(f"{url}: {done.stdout}")
    return Load(**json.loads(done.stdout.splitlines()[-1]))


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one was answered."""

    def __init__(self, requests: list[bytes], latencies: list[float]) -> None:
        self._requests = requests
        self._turn = 0
        self._latencies = latencies
        self._buffer = b""
        self._sent = 0.0
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._latencies.append(time.perf_counter() - self._sent)
        self.failed += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        self._send()

    def close(self) -> None:
        self._transport.abort()

    def _send(self) -> None:
        request = self._next()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _next(self) -> bytes:
        self._turn += 1
        return self._requests[self._turn % len(self._requests)]


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    return int(lower[start : lower.find(b"\r\n", start) if b"\r\n" in lower[start:] else None])


async def _load(url: str, requests: list[bytes], connections: int, seconds: float) -> Load:
    place = urlsplit(url)
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [
        (
            await loop.create_connection(
                functools.partial(Connection, requests[number::connections], latencies),
                str(place.hostname),
                place.port or 80,
            )
        )[1]
        for number in range(connections)
    ]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    for connection in opened:
        connection.close()
    latencies.sort()
    return Load(
        requests=len(latencies),
        failed=sum(connection.failed for connection in opened),
        seconds=elapsed,
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("file", type=Path)
    parser.add_argument("offset", type=int)
    parser.add_argument("pool", type=int)
    told = parser.parse_args()
    requests = pool(told.file.read_bytes(), told.offset, told.pool)
    print(
        json.dumps(uvloop.run(_load(told.url, requests, told.connections, told.seconds))._asdict())
    )


if __name__ == "__main__":
    main()
