"""What callers notice of 1,500 others who mean harm, and how soon those are rid of.

1,000 connections send half a head, 500 on each road; 500 more ask for a long
document three times over and read a byte a second. When they have connected, and
until they are gone, others ask a no-op model in an open loop. By turns without and with
the hostile ones; the medians are shown, and those of each round beside its own calm.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.openloop import Arrivals, Phase, Seen, offer
from benchmarks.requests import NUMBER, Request
from benchmarks.servers import EXAMPLES, Server, demitasse, machine

HALF_HEADS, READERS = 1000, 500
HALVES = (
    b"GET /models HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST /models/noop/infer HTTP/1.1\r\nHost: x\r\nX: ",
)
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 3
#: Requests a second: few enough to leave the machine some room, the hostile ones are on it too.
RATE = 300.0
REQUEST = Request(
    "/models/noop/infer",
    b'{"inputs": {"x": [%b]}}' % NUMBER,
    {"Content-Type": "application/json"},
)
ROUNDS = 5
SECONDS = 10.0
#: What a hostile connection waits for its end.
PATIENCE_SECONDS = 30.0
console = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attack", type=int, metavar="PORT", help="be the hostile ones")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    if chosen.attack:
        print(json.dumps(uvloop.run(attack(chosen.attack))))
        return
    measure(chosen.rounds)


def measure(rounds: int) -> None:
    calm: list[Seen] = []
    again: list[Seen] = []
    hostile: list[Seen] = []
    ends: list[dict[str, float]] = []
    with demitasse([EXAMPLES / "noop"]) as server:
        asked(server)  # what is new is slow
        for _ in range(rounds):
            calm.append(asked(server))
            again.append(asked(server))
            with attacking(server.url) as told:
                hostile.append(asked(server))
            ends.append(told)
    show({"calm": calm, "once more": again, "with 1,500 hostile ones": hostile})
    for name in ends[0]:
        console.print(f"{name}: {', '.join(f'{each[name]:.1f}' for each in ends)}")


def asked(server: Server) -> Seen:
    return offer(server.url, REQUEST, Arrivals([Phase(RATE, SECONDS)]))


@contextlib.contextmanager
def attacking(url: str) -> Iterator[dict[str, float]]:
    """The hostile ones in a process of their own; afterwards, what became of them.

    It gives way to all others: hostile ones have machines of their own.
    """
    told: dict[str, float] = {}
    command = ["nice", "-n", "19", sys.executable, "-m", "benchmarks.hostile"]
    command += ["--attack", str(urlsplit(url).port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        connected(process)
        yield told
        out, _ = process.communicate()
    told.update(json.loads(out))


def connected(process: subprocess.Popen[str]) -> None:
    """Returns when all the hostile ones have connected and asked."""
    if process.stdout is None or not process.stdout.readline():
        raise RuntimeError("the hostile ones ended at once")


def show(rows: dict[str, list[Seen]]) -> None:
    """By turns what was seen, beside the first row's."""
    console.print(machine())
    table = Table("others", "p50 ms", "of calm", "p99 ms", "of calm", "not answered")
    calm = next(iter(rows.values()))
    for name, seen in rows.items():
        cells = []
        for share in (0.5, 0.99):
            values = [quantile(each, share) for each in seen]
            ratios = [
                quantile(a, share) / quantile(b, share) for a, b in zip(seen, calm, strict=True)
            ]
            cells += [f"{statistics.median(values):.2f}", f"{statistics.median(ratios):.2f}"]
        table.add_row(name, *cells, str(sum(int((each.status != 200).sum()) for each in seen)))
    console.print(table)


def quantile(seen: Seen, share: float) -> float:
    """In milliseconds."""
    return float(1000 * np.quantile(seen.seconds, share))


async def attack(port: int) -> dict[str, float]:
    """How many of each kind were hung up on, and after how many seconds the last was."""
    async with contextlib.AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        slow, half = [], []
        for _ in range(READERS):
            slow.append(await stack.enter_async_context(open_connection(port)))
            await loop.sock_sendall(slow[-1], DOCUMENT)
        for each in slow:  # what an answer costs is no part of what its reading does
            await loop.sock_recv(each, 1)
        for number in range(HALF_HEADS):
            half.append(await stack.enter_async_context(open_connection(port)))
            await loop.sock_sendall(half[-1], HALVES[number % 2])
        began = time.monotonic()
        print("connected", flush=True)
        heads = [half_a_head(each, began) for each in half]
        readers = [
            a_byte_a_second(each, began, number / READERS) for number, each in enumerate(slow)
        ]
        ends = await asyncio.gather(*heads, *readers)
    found: dict[str, float] = {}
    for name, of_kind in (("half heads", ends[:HALF_HEADS]), ("slow readers", ends[HALF_HEADS:])):
        closed = [each for each in of_kind if each is not None]
        found[f"{name} closed"] = len(closed)
        found[f"{name}: the last closed after, s"] = max(closed, default=0.0)
    return found


async def half_a_head(connection: socket.socket, began: float) -> float | None:
    """After how many seconds we are hung up on."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.get_running_loop().sock_recv(connection, 4096):
                pass
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    return time.monotonic() - began


async def a_byte_a_second(connection: socket.socket, began: float, later: float) -> float | None:
    """Likewise; the first byte so many seconds later, since they do not all read in one instant.

    That we were hung up on is asked of the socket: what it has yet to read hides it.
    """
    await asyncio.sleep(later)
    try:
        while time.monotonic() < began + PATIENCE_SECONDS:
            await asyncio.sleep(1.0)
            if not await asyncio.get_running_loop().sock_recv(connection, 1):
                return time.monotonic() - began
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return time.monotonic() - began
    except ConnectionError:
        return time.monotonic() - began
    return None


@contextlib.asynccontextmanager
async def open_connection(port: int) -> AsyncIterator[socket.socket]:
    """A socket that takes little ahead of whoever reads it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        yield connection


if __name__ == "__main__":
    main()
