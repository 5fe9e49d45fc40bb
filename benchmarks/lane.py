"""What the lane and its workers cost, and how they batch, without a road to them.

One process holds a lane and a closed loop of so many askers, each of whom asks
again in the turn after its answer; the workers are real. Shown per case:
examples per second, the median latency, the mean batch, and CPU-microseconds
per example in this process (askers included, about 1) and in the workers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.servers import machine
from minion.host.examples import Answered, Outcome
from minion.host.lane import Lane
from minion.host.spec import InputSpec, ServiceSpec
from wire.tensor import Tensor

MODELS = Path(__file__).parent / "models"
ROUNDS = 3
SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Case(NamedTuple):
    name: str
    model: str
    fixed_ms: float
    each_ms: float
    askers: tuple[int, ...]
    workers: int = 1
    max_batch_size: int = 8
    delay_ms: float = 5.0
    length: int = 11
    """Of the input, in float32."""
    think_ms: float = 0
    """An asker asks again after a random time up to this one: they do not come in step."""


CASES = [
    Case("no-op", "Device", 0, 0, (1, 16, 64), max_batch_size=32, delay_ms=2),
    Case("no-op, 150 KB", "Device", 0, 0, (1, 64), max_batch_size=32, delay_ms=2, length=37_632),
    Case("device 5 + 0.2 n ms", "Device", 5, 0.2, (1, 4, 16, 64)),
    Case("the same, thinking", "Device", 5, 0.2, (1, 4, 16), think_ms=1, delay_ms=10),
    Case("the same, no window", "Device", 5, 0.2, (1, 4, 16), think_ms=1, delay_ms=0),
    Case("core 0.2 + 2 n ms", "Core", 0.2, 2, (1, 8, 32)),
    Case("the same, two workers", "Core", 0.2, 2, (1, 8, 32), workers=2),
]


def spec(case: Case) -> ServiceSpec:
    return ServiceSpec(
        model="arithmetic",
        version="1.0.0",
        replica="arithmetic-1.0.0-0",
        epoch=1,
        python=sys.executable,
        directory=str(MODELS),
        entry=f"arithmetic:{case.model}",
        inputs={"x": InputSpec("float32", (-1,))},
        queue_limit=1024,
        max_batch_size=case.max_batch_size,
        max_queue_delay_seconds=case.delay_ms / 1000,
        workers=case.workers,
        options={"fixed": case.fixed_ms / 1000, "each": case.each_ms / 1000},
    )


class Askers:
    """A closed loop: so many in flight, each asks again in the turn after its answer."""

    def __init__(
        self, lane: Lane, count: int, inputs: Mapping[str, Tensor], think_seconds: float = 0.0
    ) -> None:
        self._lane = lane
        self._count = count
        self._inputs = inputs
        self._think_seconds = think_seconds
        self._free = 0
        self._stopped = False
        self._over = asyncio.Event()
        self.latencies: list[float] = []
        self.sizes: list[int] = []

    async def ask_for(self, seconds: float) -> None:
        self._free = self._count
        self._ask()
        await asyncio.sleep(seconds)
        self._stopped = True
        await self._over.wait()

    def _ask_one(self) -> None:
        if not self._free or self._stopped:
            asyncio.get_running_loop().call_soon(self._ask)
        self._free += 1

    def _ask(self) -> None:
        if self._stopped:
            if self._free == self._count:
                self._over.set()
            return
        count, self._free = self._free, 0
        for _ in range(count):
            self._submit()

    def _submit(self) -> None:
        asked = time.perf_counter()

        def settle(outcome: Outcome) -> None:
            assert isinstance(outcome, Answered), outcome
            self.latencies.append(time.perf_counter() - asked)
            self.sizes.append(outcome.batch_size)
            if self._think_seconds:
                delay = random.uniform(0, self._think_seconds)
                asyncio.get_running_loop().call_later(delay, self._ask_one)
            else:
                self._ask_one()

        self._lane.submit(self._inputs, {}, None, settle)


def cpu_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(lane: Lane, askers: int, case: Case, seconds: float) -> dict[str, float]:
    pids = [worker.pid for worker in lane.keeper.workers]
    here, there = time.process_time(), sum(map(cpu_seconds, pids))
    inputs = {"x": Tensor.from_array(np.zeros(case.length, np.float32))}
    loop = Askers(lane, askers, inputs, case.think_ms / 1000)
    started = time.perf_counter()
    await loop.ask_for(seconds)
    count = len(loop.latencies)
    return {
        "rate": count / (time.perf_counter() - started),
        "p50": statistics.median(loop.latencies) * 1000,
        "batch": count / sum(1 / size for size in loop.sizes),
        "host": (time.process_time() - here) / count * 1e6,
        "worker": (sum(map(cpu_seconds, pids)) - there) / count * 1e6,
    }


async def rounds(case: Case, askers: int) -> dict[str, float]:
    lane = Lane(spec(case))
    lane.start()
    while True:
        if lane.keeper.ready() == case.workers:
            break
        await asyncio.sleep(0.01)
    await measure(lane, askers, case, SECONDS / 2)
    found = [await measure(lane, askers, case, SECONDS) for _ in range(ROUNDS)]
    await lane.stop()
    return {key: statistics.median(each[key] for each in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="cases whose names begin so; otherwise all")
    names = tuple(parser.parse_args().names) or ("",)
    table = Table(title=f"The lane. {machine()}")
    for heading in ("model", "askers", "examples / s", "p50 ms", "batch", "host µs", "worker µs"):
        table.add_column(heading)
    for case in CASES:
        if case.name.startswith(names):
            for askers in case.askers:
                found: dict[str, Any] = uvloop.run(rounds(case, askers))
                table.add_row(
                    case.name, str(askers), f"{found['rate']:,.0f}", f"{found['p50']:.2f}",
                    f"{found['batch']:.1f}", f"{found['host']:.1f}", f"{found['worker']:.1f}",
                )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
