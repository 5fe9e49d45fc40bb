"""A closed-loop HTTP client that costs little: so many connections, one request each at a time.

`python -m benchmarks.load` runs it in a process of its own and prints one JSON
line, so that its CPU is not counted among the servers'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop


class Connection(asyncio.Protocol):
    """Sends the same request as soon as it was answered."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self._request = request
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
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    return int(lower[start : lower.find(b"\r\n", start) if b"\r\n" in lower[start:] else None])


async def _load(url: str, body: bytes, content_type: str, connections: int, seconds: float) -> Any:
    place = urlsplit(url)
    request = (
        f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [
        (
            await loop.create_connection(
                lambda: Connection(request, latencies), place.hostname, place.port
            )
        )[1]
        for _ in range(connections)
    ]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    for connection in opened:
        connection.close()
    latencies.sort()
    return {
        "requests": len(latencies),
        "failed": sum(connection.failed for connection in opened),
        "seconds": elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


def load(
    url: str, body: bytes, content_type: str, *, connections: int, seconds: float
) -> dict[str, Any]:
    """Runs the client in a process of its own.

    Returns:
        `requests`, `failed`, `seconds`, `p50_ms`, `p99_ms`.
    """
    told = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.load", url, content_type,
            str(connections), str(seconds),
        ],
        input=body, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return cast(dict[str, Any], json.loads(told.stdout))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("content_type")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    body = Path("/dev/stdin").read_bytes()
    print(
        json.dumps(
            uvloop.run(
                _load(
                    arguments.url,
                    body,
                    arguments.content_type,
                    arguments.connections,
                    arguments.seconds,
                )
            )
        )
    )


if __name__ == "__main__":
    main()
