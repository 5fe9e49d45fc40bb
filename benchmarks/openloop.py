"""An open-loop client: requests set out at a fixed rate, whether or not the last ones came back.

`python -m benchmarks.openloop` runs it in a process of its own and prints one
JSON line. A request takes an idle connection or opens one; when as many as
`MAX_CONNECTIONS` are busy it is given up, as a caller's pool would. Good is an
answer with status 200 within `DEADLINE_SECONDS`.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.requests import Request, pool

DEADLINE_SECONDS = 2.0
MAX_CONNECTIONS = 1000


class Outcome(NamedTuple):
    offered: float
    """Requests that set out, per second: the client shares the cores, and may fall behind."""
    goodput: float
    """Good answers per second."""
    statuses: dict[str, int]
    """How many answers of each status; "late", "lost" (no answer), "given up"."""


def offer(url: str, request: Request, *, rate: float, seconds: float) -> Outcome:
    """Runs the client in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file = Path(folder) / "request"
        offset = request.write(url, file)
        command = [
            sys.executable, "-m", "benchmarks.openloop", url, str(rate), str(seconds),
            str(file), str(offset),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Outcome(**json.loads(done.stdout))


class Connection(asyncio.Protocol):
    """One request at a time; tells its client of the end of each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answer = b""
        self._sent: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, now: float) -> None:
        """`now` is when it was to set out: waiting for a connection counts."""
        self._answer, self._sent = b"", now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._sent is not None and is_whole(self._answer):
            self._end(self._answer[9:12].decode())
            if b"connection: close" in self._answer[:1000].lower():
                self._transport.close()
            else:
                self._client.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.gone(self)
        if self._sent is not None:
            # A refusal may come before the body was read, and the connection end with it.
            self._end(self._answer[9:12].decode() or "lost")

    def _end(self, status: str) -> None:
        assert self._sent is not None
        self._client.tell(status, time.perf_counter() - self._sent)
        self._sent = None


def is_whole(answer: bytes) -> bool:
    """Whether an answer, of known length or in chunks, has arrived to its end."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


class Client:
    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._open: set[Connection] = set()
        self._opening = 0
        self.idle: collections.deque[Connection] = collections.deque()
        self.statuses: collections.Counter[str] = collections.Counter()

    def tell(self, status: str, seconds: float) -> None:
        late = status == "200" and seconds > DEADLINE_SECONDS
        self.statuses["late" if late else status] += 1

    def gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    async def send(self, request: bytes, now: float) -> None:
        if self.idle:
            self.idle.pop().send(request, now)
        elif len(self._open) + self._opening >= MAX_CONNECTIONS:
            self.statuses["given up"] += 1
        else:
            await self._send_on_a_new_one(request, now)

    async def _send_on_a_new_one(self, request: bytes, now: float) -> None:
        self._opening += 1
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), *self._place)
        except OSError:
            self.statuses["lost"] += 1
        else:
            self._open.add(connection)
            connection.send(request, now)
        finally:
            self._opening -= 1


async def _offer(url: str, requests: list[bytes], rate: float, seconds: float) -> Outcome:
    place = urlsplit(url)
    client = Client(str(place.hostname), place.port or 80)
    began = time.perf_counter()
    turn = itertools.cycle(requests)
    sending: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.perf_counter()) < began + seconds:
        while sent < (now - began) * rate:
            task = asyncio.create_task(client.send(next(turn), began + sent / rate))
            sending.add(task)
            task.add_done_callback(sending.discard)
            sent += 1
        await asyncio.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    elapsed = time.perf_counter() - began
    await asyncio.sleep(DEADLINE_SECONDS)
    return Outcome(sent / elapsed, client.statuses["200"] / elapsed, dict(client.statuses))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("file", type=Path)
    parser.add_argument("offset", type=int)
    told = parser.parse_args()
    requests = pool(told.file.read_bytes(), told.offset, 1 + MAX_CONNECTIONS)
    print(json.dumps(uvloop.run(_offer(told.url, requests, told.rate, told.seconds))._asdict()))


if __name__ == "__main__":
    main()
