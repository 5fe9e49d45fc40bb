"""What the callers of one model notice of another model that does its worst; and what it leaves.

`python -m benchmarks.neighbours`: a no-op model with callers in an open loop, alone and
beside one that (`tests/acceptance/models/hostile`) crashes as often as it is started, prints a
gigabyte, starts processes that leave its session, fills its temporary folder, or closes its
descriptors, again and again; it hears no SIGTERM. One that starts processes ends after every
thirtieth time, and with it what it has left. Beside a program as well that is no part of
the platform and writes as much as one that fills its folder: what two cores make of that alone.
By turns; all answers of a kind count together, and what was seen while the machine served others
is measured again. Then the hostile model is retired: no process, temporary folder or shared memory
of it may be left. Fails where something is.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.openloop import Arrivals, Phase, Seen, offer
from benchmarks.processes import shared_memory, stolen_seconds
from benchmarks.requests import NUMBER, Request
from benchmarks.servers import EXAMPLES, ROOT, Server, demitasse, machine
from deploy.machine import socket_folder
from deploy.status import run_folder
from minion.host.restarts import BUDGET_ENDINGS

HOSTILE = ROOT / "tests" / "acceptance" / "models" / "hostile"
RATE = 300.0
#: Fewer, and the p99 is that of a handful of answers.
ROUNDS, SECONDS = 6, 8.0
#: Of one core's time: where its hypervisor gave more to others, they are what is seen.
STOLEN = 0.02
ATTEMPTS = 5
#: What it is told to do, and how much of it.
ACTS = {"crash": 0, "print": 1000, "fork": 0, "fill": 0, "close": 0}
PAUSE_SECONDS = 0.2
#: After so many times its process ends, and what it has left behind with it.
FORKS = 30
ELSEWHERE = "writes, elsewhere"
#: As `fill` does until its host looks, and as often: five endings, and a lane has failed.
_WRITES = BUDGET_ENDINGS
_WRITER = f"""
import os, sys, tempfile, time
while True:
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        ends = time.monotonic() + 0.25
        while time.monotonic() < ends:
            with open(os.path.join(folder, str(time.monotonic())), "wb") as file:
                file.write(bytes(2**20))
            time.sleep(0.005)
    time.sleep({SECONDS / _WRITES - 0.25})
"""
RETIRED_SECONDS = 30.0
REQUEST = Request(
    "/models/noop/infer",
    b'{"inputs": {"x": [%b]}}' % NUMBER,
    {"Content-Type": "application/json"},
)
console = Console(width=120)


class Hostile(threading.Thread):
    """Has the other model do one thing again and again; the block ends when it has recovered."""

    def __init__(self, url: str, act: str, first: int) -> None:
        super().__init__()
        self.done = 0
        self._client = httpx.Client(base_url=url, timeout=60)
        self._act = act
        self._inputs = iter(range(first, first + 10**4))  # or it is known, and refused
        self._enough = threading.Event()

    def __enter__(self) -> Hostile:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self.join()
        if self._act == "fork":  # what it has left is not to end beside the next
            self._ask("crash")
        while self._ask("nothing").status_code != 200:
            time.sleep(PAUSE_SECONDS)
        self._client.close()

    def run(self) -> None:
        for times in itertools.count(1):
            if self._enough.wait(PAUSE_SECONDS):
                return
            self.done += self._ask(self._act).status_code in (200, 422)
            if self._act == "fork" and times % FORKS == 0:
                self._ask("crash")

    def _ask(self, act: str) -> httpx.Response:
        body = {
            "inputs": {"x": [next(self._inputs)]},
            "parameters": {"do": act, "amount": ACTS.get(act, 0)},
        }
        return self._client.post("/models/hostile/infer", json=body)


@contextlib.contextmanager
def writer() -> Iterator[None]:
    """Writes while the block runs, and is nobody's model."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        subprocess.Popen([sys.executable, "-c", _WRITER, folder]) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def asked(server: Server) -> Seen:
    for attempt in range(ATTEMPTS):
        before = stolen_seconds()
        seen = offer(server.url, REQUEST, Arrivals([Phase(RATE, SECONDS)]))
        stolen = (stolen_seconds() - before) / SECONDS
        if stolen <= STOLEN:
            break
        again = attempt + 1 < ATTEMPTS
        console.print(f"{stolen:.1%} of a core was others': {'again' if again else 'as it is'}")
    return seen


def rounds(server: Server, count: int) -> Iterator[tuple[str, int, Seen, Seen]]:
    """What was done, how often, and what was seen without it and beside it."""
    first = 0
    for number in range(count):
        calm = asked(server)
        yield "nothing", 0, calm, asked(server)
        for act in ACTS:
            first += 10**4
            with Hostile(server.url, act, first) as hostile:
                beside = asked(server)
            yield act, hostile.done, calm, beside
        with writer():
            beside = asked(server)
        yield ELSEWHERE, 0, calm, beside
        console.print(f"round {number + 1} of {count}")


def quantiles(seen: Sequence[Seen]) -> tuple[float, float]:
    """Median and 99th percentile of all of them, in milliseconds."""
    seconds = np.concatenate([each.seconds for each in seen])
    p50, p99 = 1000 * np.quantile(seconds, (0.5, 0.99))
    return float(p50), float(p99)


def show(told: list[tuple[str, int, Seen, Seen]]) -> int:
    """Prints a table; how many neighbours were not answered."""
    table = Table("it does", "times", "p50 ms", "of calm", "p99 ms", "of calm", "not answered")
    failed = 0
    for act in ("nothing", *ACTS, ELSEWHERE):
        _, times, calm, beside = zip(*(each for each in told if each[0] == act), strict=True)
        cells = []
        for value, old in zip(quantiles(beside), quantiles(calm), strict=True):
            cells += [f"{value:.2f}", f"{value / old:.2f}"]
        lost = sum(int((each.status != 200).sum()) for each in beside)
        table.add_row(act, str(sum(times) or ""), *cells, str(lost))
        failed += lost
    console.print(table)
    return failed


def retired(server: Server) -> None:
    """Returns when the hostile model's host has ended.

    Raises:
        TimeoutError: they have not.
    """
    [host] = [
        each.pid
        for each in server.status().processes
        if (each.role, each.model) == ("minion", "hostile")
    ]
    for words in (["alias", "hostile", "default", "--remove"], ["retire", "hostile@1.0.0"]):
        command = [sys.executable, "-m", "demitasse", *words, "--home", str(server.home)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + RETIRED_SECONDS
    while host in server.tree.pids():
        if time.monotonic() > ends:
            raise TimeoutError("the hostile model has not ended")
        time.sleep(0.05)


def left(server: Server, names: set[str]) -> list[str]:
    """What is there that belongs to nobody."""
    processes = server.status().processes
    known = {each.pid for each in processes}
    workers = sum(each.role == "worker" for each in processes)
    folders = sorted(socket_folder(run_folder(server.home)).rglob("w-*"))
    found = [f"process {pid}" for pid in server.tree.pids() if pid not in known]
    if len(folders) > workers:
        found.append(f"{len(folders)} temporary folders of {workers} workers")
    return found + [f"shared memory {name}" for name in shared_memory() - names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    told = parser.parse_args()
    console.print(machine())
    names = shared_memory()
    with demitasse([EXAMPLES / "noop", HOSTILE]) as server:
        asked(server)  # what is new is slow
        failed = show(list(rounds(server, told.rounds)))
        with Hostile(server.url, "fork", 0):
            time.sleep(1.0)
        before = len(left(server, names))
        retired(server)
        found = left(server, names)
    console.print(f"left of {before} things of nobody's: {', '.join(found) or 'nothing'}")
    sys.exit(
        f"not passed: {failed} not answered, {len(found)} things left" if failed or found else 0
    )


if __name__ == "__main__":
    main()
