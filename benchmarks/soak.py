"""What a platform holds after a million mixed requests that it did not hold before.

`python -m benchmarks.soak`: a fifth of the requests are bad, one in twenty callers hangs up,
the others send numbers, tensors and photos in every way and know what is right
(`benchmarks.mixture`). After each tenth, when nobody asks any more, every process is
looked at: resident memory, descriptors, threads, shared memory. The first fifth warms up.
Fails where the memory of one grew by more than 2 % or 10 MB, or anything else did; where a
gauge is not at zero, a good request was not answered rightly, or anybody got a 5xx that is
not meant.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.mixture import VARIABLES, attack, packages
from benchmarks.processes import Held
from benchmarks.servers import Server, demitasse, machine
from tests.acceptance.invariants import shared_memory

PIECES, WARM = 10, 2
GROWTH, GROWTH_BYTES = 0.02, 10 * 10**6
#: For connections that linger, and what is given back now and then.
REST_SECONDS = 15.0
#: Of a minion, when nobody asks.
ZERO = ("demitasse_minion_occupied", "demitasse_minion_queued", "demitasse_minion_failed")
console = Console(width=140)


class State(NamedTuple):
    """Of the whole platform, when nobody asks."""

    processes: dict[int, Held]
    names: set[str]
    """Shared memory that has a name."""


def settled(server: Server) -> State:
    """What it holds once that has stopped becoming less."""
    ends = time.monotonic() + REST_SECONDS
    seen = server.tree.held()
    while time.monotonic() < ends:
        time.sleep(1.0)
        before, seen = seen, server.tree.held()
        if _descriptors(seen) >= _descriptors(before) and not gauges(server):
            break
    return State(seen, shared_memory())


def _descriptors(processes: dict[int, Held]) -> int:
    return sum(each.descriptors for each in processes.values())


def roles(server: Server) -> dict[int, str]:
    """What each process is; those that nobody lists are named by what they are not."""
    status = server.status().processes
    return {
        each.pid: " ".join(filter(None, (each.role, each.model))) for each in status if each.pid
    }


def gauges(server: Server) -> dict[str, float]:
    """Those that are not at zero, although nobody asks."""
    found: dict[str, float] = {}
    for each in server.status().processes:
        if each.address is not None and each.address.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=each.address.removeprefix("unix:"))
            with httpx.Client(transport=transport) as client:
                text = client.get("http://minion/metrics").text
            for family in text_string_to_metric_families(text):
                if family.name in ZERO and family.samples[0].value:
                    found[f"{family.name} of {each.model}"] = family.samples[0].value
    return found


def findings(before: State, now: State) -> list[str]:
    """What grew."""
    found = [f"shared memory was left: {name}" for name in now.names - before.names]
    for pid in before.processes.keys() ^ now.processes.keys():
        found.append(f"process {pid} {'came' if pid in now.processes else 'went'}")
    for pid in before.processes.keys() & now.processes.keys():
        old, new = before.processes[pid], now.processes[pid]
        for what in ("descriptors", "shared", "threads"):
            if getattr(new, what) > getattr(old, what):
                found.append(f"{what} of process {pid}: {getattr(old, what)}, {getattr(new, what)}")
    return found


def memory_findings(before: State, now: State) -> list[str]:
    """Whose resident memory grew too much."""
    found = []
    for pid in before.processes.keys() & now.processes.keys():
        old, new = before.processes[pid].memory_bytes, now.processes[pid].memory_bytes
        if new - old > GROWTH_BYTES or new > (1 + GROWTH) * old:
            found.append(f"memory of process {pid}: {old / 1e6:.1f} MB, {new / 1e6:.1f} MB")
    return found


def show(server: Server, states: list[State]) -> None:
    named = roles(server)
    table = Table("process", "pid", "MB", "growth", "shared", "descriptors", "memories", "threads")
    for pid, first in states[WARM].processes.items():
        each = [state.processes[pid] for state in states[1:] if pid in state.processes]
        last = each[-1]
        table.add_row(
            named.get(pid, "beside them"),
            str(pid),
            " ".join(f"{one.memory_bytes / 1e6:.1f}" for one in each),
            f"{last.memory_bytes / first.memory_bytes - 1:+.1%}" if first.memory_bytes else "",
            " ".join(f"{one.shared_bytes / 1e6:.1f}" for one in (first, last)),
            f"{first.descriptors} {last.descriptors}",
            f"{first.shared} {last.shared}",
            f"{first.threads} {last.threads}",
        )
    console.print(table)


def soak(
    server: Server, seed: str, count: int, pieces: int = PIECES
) -> tuple[list[State], Counter[str], list[str]]:
    """Piece by piece: what is held after each, what callers saw, and what was wrong."""
    port = urlsplit(server.url).port or 80
    states, seen, wrong = [settled(server)], Counter[str](), []
    size = count // pieces
    for piece in range(pieces):
        began = time.monotonic()
        more, bad = attack(port, seed, piece * size, size)
        rate = size / (time.monotonic() - began)
        seen += more
        wrong += bad
        states.append(settled(server))
        total = sum(each.memory_bytes for each in states[-1].processes.values())
        console.print(f"{(piece + 1) * size}: {rate:.0f} a second, {total / 1e6:.1f} MB resident")
    wrong += [f"{name} is {value:g}" for name, value in gauges(server).items()]
    return states, seen, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    told = parser.parse_args()
    console.print(f"{machine()}\n--seed {told.seed} --count {told.count}")
    with (
        tempfile.TemporaryDirectory() as folder,
        demitasse(packages(Path(folder)), VARIABLES) as server,
    ):
        states, seen, wrong = soak(server, told.seed, told.count)
        show(server, states)
    for answer, count in sorted(seen.items()):
        console.print(f"{count:8} {answer}")
    wrong += findings(states[WARM], states[-1]) + memory_findings(states[WARM], states[-1])
    for each in wrong[:40]:
        console.print(each, markup=False)
    sys.exit(f"not passed: {len(wrong)} findings" if wrong else 0)


if __name__ == "__main__":
    main()
