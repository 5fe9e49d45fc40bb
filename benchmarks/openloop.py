"""An open-loop client: requests set out when they are due, whether or not the last came back.

Arrivals are Poisson, phase after phase, or come all at once; they are drawn from
a seed beforehand. Every time is counted from the moment a request was due, so
that a client that falls behind, or a connection that is waited for, hides
nothing. Who is refused may come back once, after what the answer asked for or
after a time of its own. A request takes an idle connection or opens one; when as
many as `MAX_CONNECTIONS` are busy it is given up, as a caller's pool would.

Runs in a process of its own: `offer` starts it and reads back what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.requests import Request, pool

MAX_CONNECTIONS = 1000
#: For what is under way when the last request has set out.
REST_SECONDS = 2.0
LOST, GIVEN_UP = 0, -1
"""No answer; and no connection to be had."""
_REFUSED = (429, 503)
_ASKED_TO_WAIT = re.compile(rb'"retry_after":\s*([0-9.eE+-]+)')

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


class Phase(NamedTuple):
    rate: float
    """Requests per second, as a Poisson process."""
    seconds: float


class Arrivals(NamedTuple):
    """When requests set out."""

    phases: Sequence[Phase] = ()
    burst: int = 0
    """So many at the very beginning."""
    seed: int = 1

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    def moments(self) -> list[float]:
        """In seconds from the beginning, in order."""
        draw = np.random.default_rng(self.seed)
        moments = [np.zeros(self.burst)]
        began = 0.0
        for rate, seconds in self.phases:
            # Given how many there are, the moments of a Poisson process are uniform.
            count = draw.poisson(rate * seconds)
            moments.append(np.sort(began + seconds * draw.random(count)))
            began += seconds
        return [float(moment) for moment in np.concatenate(moments)]


class Retry(NamedTuple):
    """Whether and when those who were refused come back."""

    times: int = 0
    seconds: float | None = None
    """After so long; None: when the answer said."""


NEVER = Retry()


class Seen(NamedTuple):
    """One row per attempt, in the order in which they ended."""

    due: Floats
    """When it was to set out, in seconds from the beginning."""
    seconds: Floats
    """From then to the end of its answer."""
    status: Integers
    """Of the answer, or LOST or GIVEN_UP."""
    attempt: Integers
    """From 1 up."""


def offer(
    url: str,
    request: Request,
    arrivals: Arrivals,
    *,
    retry: Retry = NEVER,
    rest_seconds: float = REST_SECONDS,
) -> Seen:
    """Runs the client in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file, seen = Path(folder) / "request", Path(folder) / "seen.npz"
        plan = {
            "url": url, "file": str(file), "offset": request.write(url, file),
            "moments": arrivals.moments(), "retry": retry, "rest": rest_seconds, "seen": str(seen),
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.openloop"]
        subprocess.run(command, input=json.dumps(plan), check=True, text=True)
        with np.load(seen) as columns:
            return Seen(*(columns[name] for name in Seen._fields))


class Attempt(NamedTuple):
    request: bytes
    due: float
    """On the performance counter."""
    number: int


class Connection(asyncio.Protocol):
    """One request at a time; tells its client of the end of each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answer = b""
        self._attempt: Attempt | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, attempt: Attempt) -> None:
        self._answer, self._attempt = b"", attempt
        self._transport.write(attempt.request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._attempt is not None and is_whole(self._answer):
            status = int(self._answer[9:12])
            if b"connection: close" in self._answer[:1000].lower():
                self._transport.close()
            else:
                self._client.idle.append(self)
            self._end(status)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.gone(self)
        if self._attempt is not None:
            # A refusal may come before the body was read, and the connection end with it.
            whole = len(self._answer) > len("HTTP/1.1 200")
            self._end(int(self._answer[9:12]) if whole else LOST)

    def _end(self, status: int) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self._client.ended(attempt, status, self._answer)


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


def asked_to_wait(answer: bytes) -> float:
    """Seconds: a problem document's fraction, else the header's whole ones, else one."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = _ASKED_TO_WAIT.search(body) or re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
    return float(found[1]) if found else 1.0


class Client:
    def __init__(self, host: str, port: int, retry: Retry, began: float) -> None:
        self._place = host, port
        self._retry = retry
        self._began = began
        self._open: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._idle: asyncio.Event | None = None
        self.idle: collections.deque[Connection] = collections.deque()
        self.rows: list[tuple[float, float, int, int]] = []

    async def all_ended(self) -> None:
        """Nobody waits for an answer any more, or to come back."""
        if self._under_way:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def set_out(self, attempt: Attempt) -> None:
        self._under_way += 1
        if self.idle:
            self.idle.pop().send(attempt)
        elif len(self._open) + len(self._opening) >= MAX_CONNECTIONS:
            self.ended(attempt, GIVEN_UP, b"")
        else:
            task = asyncio.get_running_loop().create_task(self._send_on_a_new_one(attempt))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _send_on_a_new_one(self, attempt: Attempt) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), *self._place)
        except OSError:
            self.ended(attempt, LOST, b"")
        else:
            self._open.add(connection)
            connection.send(attempt)

    def gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def ended(self, attempt: Attempt, status: int, answer: bytes) -> None:
        now = time.perf_counter()
        self.rows.append((attempt.due - self._began, now - attempt.due, status, attempt.number))
        if status in _REFUSED and attempt.number <= self._retry.times:
            wait = self._retry.seconds
            wait = asked_to_wait(answer) if wait is None else wait
            again = attempt._replace(due=now + wait, number=attempt.number + 1)
            asyncio.get_running_loop().call_later(wait, self._come_back, again)
        else:
            self._under_way -= 1
            if not self._under_way and self._idle is not None:
                self._idle.set()

    def _come_back(self, attempt: Attempt) -> None:
        self._under_way -= 1
        self.set_out(attempt)

    def close(self) -> None:
        """Who still waits is not answered."""
        for connection in list(self._open):
            connection.close()


async def _run(plan: dict[str, Any], template: bytes) -> Client:
    place = urlsplit(plan["url"])
    requests = itertools.cycle(pool(template, plan["offset"], 1 + MAX_CONNECTIONS))
    began = time.perf_counter()
    client = Client(str(place.hostname), place.port or 80, Retry(*plan["retry"]), began)
    for moment in plan["moments"]:
        due = began + moment
        # In naps, so that answers are read in between even where it has fallen behind.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        client.set_out(Attempt(next(requests), due, 1))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(plan["rest"]):
            await client.all_ended()
    client.close()
    await asyncio.sleep(0)  # which ends those who still wait
    return client


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    plan = json.load(sys.stdin)
    client = uvloop.run(_run(plan, Path(plan["file"]).read_bytes()))
    due, seconds, status, attempt = np.array(client.rows).reshape(-1, len(Seen._fields)).T
    seen = Seen(due, seconds, status.astype(int), attempt.astype(int))
    np.savez(plan["seen"], **seen._asdict())


if __name__ == "__main__":
    main()
