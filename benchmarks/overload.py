"""Far more requests than a model can answer: what is still answered, how soon, and how soon after.

`python -m benchmarks.overload`: a device made of arithmetic behind the whole
platform, so that its capacity does not depend on what the client and the
platform burn beside it; an open-loop client in a process of its own. Goodput is
what is answered within 1.1 times the promise. Scenes are repeated, medians shown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.load import load
from benchmarks.openloop import Arrivals, Phase, Retry, Seen, offer
from benchmarks.requests import NUMBER, Request
from benchmarks.servers import Server, demitasse, machine

FACTORS = (0.5, 0.9, 1.0, 2.0, 5.0, 10.0, 20.0)
#: A batch of n takes so many seconds; 73 examples a second in batches of eight.
FIXED, EACH, BATCH = 0.03, 0.01, 8
PROMISE = 1.0
LATE = 1.1
CONNECTIONS = 4 * BATCH
CAPACITY_SECONDS = 4.0
BURST = 1000
CALM = 0.9
FLOOD = 10.0
WINDOW = 0.5
ENOUGH = 0.95

MANIFEST = f"""
name = "device"
version = "1.0.0"
entry = "arithmetic:Device"
[input.x]
dtype = "float64"
shape = [10]
[output.n]
type = "integer"
[batching]
max_batch_size = {BATCH}
max_queue_delay = "5ms"
[admission]
promise = "{PROMISE:g}s"
[options]
fixed = {FIXED}
each = {EACH}
"""
REQUEST = Request(
    "/models/device/infer",
    b'{"inputs":{"x":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,%b]}}' % NUMBER,
    {"Content-Type": "application/json"},
)


class Scene(NamedTuple):
    """One row of figures, by column."""

    name: str
    play: Callable[[Server, float], dict[str, float]]
    """With the platform and its capacity in requests per second."""


@contextlib.contextmanager
def device() -> Iterator[Server]:
    """The platform with the device, which has learned what its batches cost."""
    with tempfile.TemporaryDirectory(prefix="device-") as told:
        package = Path(told)
        (package / "model.toml").write_text(MANIFEST)
        (package / "requirements.txt").touch()
        model = Path(__file__).parent / "models" / "arithmetic.py"
        (package / "arithmetic.py").write_text(model.read_text())
        with demitasse([package]) as server:
            yield server


def capacity(server: Server) -> float:
    """Answers per second of a closed loop that keeps the device busy, once its cost is known:
    until then the promise lets few in."""
    url = f"{server.url}{REQUEST.path}"
    load(url, REQUEST, connections=CONNECTIONS, seconds=CAPACITY_SECONDS)
    told = load(url, REQUEST, connections=CONNECTIONS, seconds=CAPACITY_SECONDS)
    return (told.requests - told.failed) / told.seconds


def flood(factor: float, seconds: float) -> Scene:
    def play(server: Server, rate: float) -> dict[str, float]:
        seen = offer(server.url, REQUEST, Arrivals([Phase(factor * rate, seconds)]))
        # From when the first were let in until the last has been offered.
        answered = good(seen)
        ended = seen.due + seen.seconds
        inside = answered & (ended >= PROMISE) & (ended <= seconds)
        return {
            "offered, of capacity": len(seen.due) / seconds / rate,
            "goodput, of capacity": inside.sum() / (seconds - PROMISE) / rate,
            **latencies(seen),
            "MiB": server.tree.memory_bytes() / 2**20,
        }

    return Scene(f"{factor:g} x", play)


def burst(server: Server, rate: float) -> dict[str, float]:
    seen = offer(server.url, REQUEST, Arrivals(burst=BURST))
    return {"answered": float((seen.status == 200).sum()), **latencies(seen)}


def step(calm: float, high: float) -> Scene:
    """Up to `FLOOD` and down again: what is left of it afterwards."""

    def play(server: Server, rate: float) -> dict[str, float]:
        phases = [Phase(CALM * rate, calm), Phase(FLOOD * rate, high), Phase(CALM * rate, calm)]
        seen = offer(server.url, REQUEST, Arrivals(phases))
        down = calm + high
        before, after = seen.due < calm, seen.due >= down + 2
        refused = seen.due[(seen.status == 429) & (seen.due >= down)]
        return {
            "last 429 after s": float(refused.max() - down) if len(refused) else 0.0,
            "p99 before s": quantile(seen.seconds[before & (seen.status == 200)], 0.99),
            "p99 from 2 s after s": quantile(seen.seconds[after & (seen.status == 200)], 0.99),
        }

    return Scene(f"{CALM:g} x, {FLOOD:g} x for {high:g} s, {CALM:g} x", play)


def outage(server: Server, rate: float) -> dict[str, float]:
    """The minion is killed, and a thousand callers come, and come back, until they are answered."""
    kill_minion(server)
    arrivals = Arrivals([Phase(CALM * rate, 20.0)], burst=BURST)
    seen = offer(server.url, REQUEST, arrivals, retry=Retry(20), rest_seconds=30.0)
    ended = np.sort((seen.due + seen.seconds)[seen.status == 200])
    first = float(ended[0])
    starts = np.arange(first, ended[-1] - WINDOW, WINDOW / 5)
    counts = np.searchsorted(ended, starts + WINDOW) - np.searchsorted(ended, starts)
    recovered = starts[counts >= ENOUGH * rate * WINDOW]
    return {
        "answered again after s": first,
        "95 % of capacity after s more": float(recovered[0] - first) if len(recovered) else np.inf,
        "attempts each": len(seen.due) / len(arrivals.moments()),
        "lost": float((seen.status <= 0).sum()),
    }


def kill_minion(server: Server) -> None:
    """SIGKILL for the host of the device."""
    [pid] = [each.pid for each in server.status().processes if each.role == "minion" and each.pid]
    os.kill(pid, signal.SIGKILL)


def good(seen: Seen) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return (seen.status == 200) & (seen.seconds <= LATE * PROMISE)


def latencies(seen: Seen) -> dict[str, float]:
    """Of those who were let in, and of those who were refused."""
    answered, refused = (seen.seconds[seen.status == status] for status in (200, 429))
    return {
        "p50 s": quantile(answered, 0.5),
        "p99 s": quantile(answered, 0.99),
        "429": len(refused) / len(seen.due),
        "p99 of a 429, ms": 1000 * quantile(refused, 0.99),
        "other": float(((seen.status != 200) & (seen.status != 429)).sum()),
    }


def quantile(values: np.ndarray[Any, Any], part: float) -> float:
    return float(np.quantile(values, part)) if len(values) else 0.0


def repeated(scene: Scene, server: Server, rate: float, rounds: int) -> dict[str, float]:
    """Medians, column by column."""
    rows = []
    for _ in range(rounds):
        rows.append(scene.play(server, rate))
        settle(server)
    return {column: statistics.median(row[column] for row in rows) for column in rows[0]}


def settle(server: Server) -> None:
    """Until one request is answered as if nothing had been."""
    with httpx.Client(timeout=30) as client:
        while True:
            body = REQUEST.body.replace(NUMBER, b"1234567")
            began = time.monotonic()
            answer = client.post(
                f"{server.url}{REQUEST.path}", content=body, headers=REQUEST.headers
            )
            if answer.status_code == 200 and time.monotonic() - began < 2 * (FIXED + EACH):
                return


def show(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in rows[0][1]:
        table.add_column(column, justify="right")
    for name, row in rows:
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    told = parser.parse_args()
    print(machine())
    with device() as server:
        rate = capacity(server)
        print(f"capacity {rate:.1f} requests/s, promise {PROMISE:g} s")
        floods = [flood(factor, told.seconds) for factor in FACTORS]
        show(
            "Poisson arrivals at multiples of the capacity",
            [(each.name, repeated(each, server, rate, told.rounds)) for each in floods],
        )
        for scene in (
            Scene(f"{BURST} at once", burst),
            step(5.0, told.seconds),
            Scene(f"kill -9 of the minion, {BURST} callers who come back", outage),
        ):
            show(scene.name, [(scene.name, repeated(scene, server, rate, told.rounds))])


if __name__ == "__main__":
    main()
