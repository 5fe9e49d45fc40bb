"""What remembering costs where nothing is ever asked twice, and what it saves where all is.

One platform with the cache and one without get the same load at the same time, their
coordinators held on one core, so that whatever slows it down slows down both: photos that
are all different (a counter in a JPEG comment), then one photo over and over. The model is
as cheap as a model can be, so that what the coordinator does is as large a part of the cost
as it can be. CPU is that of all serving processes. What the cache adds is added in the
coordinator: its CPU alone is compared, as a part of all, since the decoders' varies by more
than what is looked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.load import Connection
from benchmarks.ratios import TOLERANCE
from benchmarks.servers import EXAMPLES, Server, demitasse, machine

ROUNDS = 5
SECONDS = 4.0
#: Of each of the two clients.
CONNECTIONS = 8
#: How much slower nothing but misses may be than no cache at all.
BOUND = 1.03

MANIFEST = """
name = "colour"
version = "1.0.0"
entry = "colour:Colour"
analyze = true
[input.image]
dtype = "uint8"
shape = [32, 32, 3]
resize = "stretch"
[output.colour]
type = "array"
[batching]
max_batch_size = 8
[quality]
metric = "accuracy"
value = 0.9
data = "none: it is here to be remembered"
"""
MODEL = """
from minion.model import Model

class Colour(Model):
    def load(self, context):
        pass

    def predict(self, batch):
        return [{"colour": mean.tolist()} for mean in batch["image"].mean((1, 2))]
"""


class Case(NamedTuple):
    photo: bytes
    name: str
    fresh: bool
    """Whether every photo is another one."""


class Asking(Connection):
    """Sends the photo again as soon as it was answered; another one each time where it is fresh."""

    def __init__(
        self, head: bytes, body: bytes, numbers: Iterator[int] | None, latencies: list[float]
    ) -> None:
        super().__init__([head + body], latencies)
        self._head = head
        self._body = body
        self._numbers = numbers

    def _next(self) -> bytes:
        if self._numbers is None:
            return super()._next()
        number = next(self._numbers).to_bytes(COUNTER_BYTES, "big")
        rest = self._body[COUNTER_AT + COUNTER_BYTES :]
        return b"".join((self._head, self._body[:COUNTER_AT], number, rest))


#: In a comment right after the start of the image: marker and length take four bytes.
COUNTER_AT = 2 + 4
COUNTER_BYTES = 16


def numbered(photo: bytes) -> bytes:
    """The JPEG with room for a number in it."""
    comment = b"\xff\xfe" + (2 + COUNTER_BYTES).to_bytes(2, "big") + bytes(COUNTER_BYTES)
    return photo[:2] + comment + photo[2:]


def cases() -> list[Case]:
    small = (EXAMPLES / "photos" / "cat.jpg").read_bytes()
    with Image.open(io.BytesIO(small)) as image:
        file = io.BytesIO()
        image.resize((1024, 768)).save(file, "JPEG", quality=95)
    large = file.getvalue()
    return [
        Case(numbered(photo), f"{name}, {len(photo) // 1000} KB", fresh)
        for name, photo in (("451 x 300", small), ("1024 x 768", large))
        for fresh in (True, False)
    ]


@contextlib.contextmanager
def package() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="demitasse-bench-") as folder:
        (Path(folder) / "model.toml").write_text(MANIFEST)
        (Path(folder) / "colour.py").write_text(MODEL)
        yield Path(folder)


@contextlib.contextmanager
def platforms(package: Path) -> Iterator[dict[str, Server]]:
    """One that remembers, and one that was told not to."""
    with contextlib.ExitStack() as started:
        servers = {}
        for name, cache_bytes in (("cache", 16 * 2**20), ("no cache", 0)):
            starting = demitasse([package], {"DEMITASSE_CACHE_BYTES": str(cache_bytes)})
            servers[name] = started.enter_context(starting)
            for coordinator in servers[name].coordinators():
                os.sched_setaffinity(coordinator, {min(os.sched_getaffinity(0))})
        yield servers


async def _ask(url: str, body: bytes, seconds: float, fresh: bool) -> dict[str, Any]:
    place = urlsplit(url)
    head = (
        f"POST /analyze HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    numbers = itertools.count(int.from_bytes(os.urandom(8), "big") << 32) if fresh else None
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(
            lambda: Asking(head, body, numbers, latencies), place.hostname, place.port
        )
        for _ in range(CONNECTIONS)
    ]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    for _, connection in opened:
        connection.close()
    return {
        "requests": len(latencies),
        "failed": sum(connection.failed for _, connection in opened),
        "rate": len(latencies) / elapsed,
        "p50": statistics.median(latencies) * 1000,
    }


class Measured(NamedTuple):
    """CPU-seconds per 1,000 photos of all processes and of the coordinator, photos per second,
    p50 in milliseconds."""

    cpu: float
    coordinator: float
    rate: float
    p50: float


def measure(servers: Mapping[str, Server], case: Case, seconds: float) -> dict[str, Measured]:
    """Of each server, while all of them are asked."""
    before = {name: _burnt(server) for name, server in servers.items()}
    clients = {name: _client(server, case, seconds) for name, server in servers.items()}
    found = {name: _told(client) for name, client in clients.items()}
    measured = {}
    for name, server in servers.items():
        thousands = found[name]["requests"] / 1000
        cpu, coordinator = (
            (now - then) / thousands
            for now, then in zip(_burnt(server), before[name], strict=True)
        )  # fmt: skip
        measured[name] = Measured(cpu, coordinator, found[name]["rate"], found[name]["p50"])
    return measured


def _burnt(server: Server) -> tuple[float, float]:
    return server.cpu_seconds(), server.coordinator_cpu_seconds()


def _client(server: Server, case: Case, seconds: float) -> subprocess.Popen[bytes]:
    """A process of its own, which has the photo and asks."""
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.caching", "--ask", server.url]
        + ["--seconds", str(seconds)] + (["--fresh"] if case.fresh else []),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdin is not None
    client.stdin.write(case.photo)
    client.stdin.close()
    return client


def _told(client: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert client.stdout is not None
    told = client.stdout.read()
    if client.wait():
        raise SystemExit("a client failed; what it said is above")
    found: dict[str, Any] = json.loads(told)
    if found["failed"]:
        raise SystemExit(f"{found['failed']} of {found['requests']} photos failed")
    return found


def compare(table: Table, case: Case, servers: dict[str, Server]) -> float:
    """Adds the case's rows; CPU with the cache as a multiple of that without."""
    measure(servers, case, 0.5)
    rounds = [measure(servers, case, SECONDS) for _ in range(ROUNDS)]
    mean = {
        name: Measured(*map(statistics.fmean, zip(*(each[name] for each in rounds), strict=True)))
        for name in servers
    }
    for name, each in mean.items():
        table.add_row(
            case.name, "all different" if case.fresh else "always the same", name,
            f"{each.cpu:.3f}", f"{each.coordinator:.3f}", f"{each.rate:,.0f}", f"{each.p50:.2f}",
        )  # fmt: skip
    added = mean["cache"].coordinator - mean["no cache"].coordinator
    return 1 + added / mean["no cache"].cpu


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ask", help="be the client of this server, with the photo from stdin")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    if arguments.ask:
        body = sys.stdin.buffer.read()
        asking = _ask(arguments.ask, body, arguments.seconds, arguments.fresh)
        print(json.dumps(uvloop.run(asking)))
        return
    table = Table(title=f"Photos through /analyze, both at the same time. {machine()}")
    for heading in ("photo", "they are", "server", "CPU s / 1,000", "of the coordinator"):
        table.add_column(heading)
    for heading in ("photos / s", "p50 ms"):
        table.add_column(heading)
    misses = {}
    with package() as model, platforms(model) as servers:
        for case in cases():
            ratio = compare(table, case, servers)
            if case.fresh:
                misses[case.name] = ratio
    Console(width=120).print(table)
    for name, ratio in misses.items():
        verdict = "within" if ratio <= BOUND else "ABOVE"
        print(f"{name}, nothing hits: {ratio:.3f} x the CPU without a cache, {verdict} {BOUND}")
    if max(misses.values()) - 1 > (BOUND - 1) * (1 + TOLERANCE):
        raise SystemExit("remembering costs more than is accepted, by a third")


if __name__ == "__main__":
    main()
