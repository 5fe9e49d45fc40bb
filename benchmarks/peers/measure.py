"""Contestants beside each other: interleaved rounds of the same requests, medians.

The cores are shared, with others and with the client, and drift: so every
server has its turn in every round, and ratios within one run are what to trust.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import interpreter
from benchmarks.load import NoConnection, load
from benchmarks.peers.items import Item
from benchmarks.peers.roster import requirements
from benchmarks.peers.serving import ONE_THREAD, Contestant, label
from benchmarks.peers.task import Lent
from benchmarks.processes import Tree
from benchmarks.servers import ROOT

WARMUP_SECONDS = 2.0
SETTLE_SECONDS = 5.0
SETTLED_WITHIN, SETTLED_CORES = 0.1, 0.4
#: What the loop without a server is called.
LOOP = "offline"
#: Stands for the offline loop's connections.
NO_CONNECTIONS = 0


class Figures(NamedTuple):
    """One server at one number of connections."""

    rate: float
    """Good answers per second."""
    cpu: float
    """CPU-seconds of all its processes per 1,000 good answers."""
    p50_ms: float
    p99_ms: float
    failed: float


Table = dict[tuple[str, int], Figures]
"""By server and connections."""


@dataclass(frozen=True)
class Offline:
    """The loop without a server, in so many processes."""

    name: str
    processes: Sequence[subprocess.Popen[str]]

    def figures(self, seconds: float) -> Figures:
        for each in self.processes:
            assert each.stdin is not None
            each.stdin.write(f"{seconds}\n")
            each.stdin.flush()
        told = [json.loads(_line(each)) for each in self.processes]
        count = sum(one[0] for one in told)
        rate = sum(one[0] / one[1] for one in told)
        return Figures(rate, sum(one[2] for one in told) / count * 1000, 0.0, 0.0, 0)


@contextlib.contextmanager
def offline(item: Item, workers: int, lent: Lent) -> Iterator[Offline]:
    """So many processes that have loaded everything and wait for their turn."""
    variables = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    variables |= item.task(0, workers, lent).variables()
    with tempfile.NamedTemporaryFile() as body, contextlib.ExitStack() as running:
        Path(body.name).write_bytes(item.body())
        command = [
            str(interpreter(requirements("aiohttp"))),
            "-m",
            "benchmarks.peers.offline",
            body.name,
        ]
        processes = [
            running.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
                )
            )
            for _ in range(workers)
        ]
        for each in processes:
            _line(each)
        yield Offline(label(LOOP, lent), processes)


def _line(process: subprocess.Popen[str]) -> str:
    """What an offline process says next; leaving its context closes its input, which ends it."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("an offline loop ended early")
    return line


def figures(server: Contestant, connections: int, seconds: float) -> Figures:
    before = server.tree.cpu_seconds()
    try:
        told = load(server.url, server.request, connections=connections, seconds=seconds)
    except NoConnection:  # it has died: the others' figures are worth keeping
        return Figures(0.0, math.inf, math.inf, math.inf, connections)
    spent = server.tree.cpu_seconds() - before
    settle(server.tree)
    good = max(told.requests - told.failed, 1)
    return Figures(good / told.seconds, spent / good * 1000, told.p50_ms, told.p99_ms, told.failed)


def settle(tree: Tree) -> None:
    """Until a server has done what its client left behind: the next one's turn is its own.

    Slow ones hold a second's work at 256 connections. Some are never quite idle.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        before = tree.cpu_seconds()
        time.sleep(SETTLED_WITHIN)
        if tree.cpu_seconds() - before <= SETTLED_CORES * SETTLED_WITHIN:
            return


def compare(
    servers: Sequence[Contestant],
    loops: Sequence[Offline],
    connections: Sequence[int],
    *,
    rounds: int,
    seconds: float,
) -> Table:
    """Each server at each number of connections, each loop once, in every round."""
    for server in servers:
        figures(server, max(connections), WARMUP_SECONDS)
    found: dict[tuple[str, int], list[Figures]] = {}
    for _ in range(rounds):
        for loop in loops:
            found.setdefault((loop.name, NO_CONNECTIONS), []).append(loop.figures(seconds))
        for count in connections:
            for server in servers:
                each = figures(server, count, seconds)
                found.setdefault((server.name, count), []).append(each)
    return {key: medians(each) for key, each in found.items()}


def medians(rounds: Sequence[Figures]) -> Figures:
    """Field by field."""
    return Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
