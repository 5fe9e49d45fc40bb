"""How cost and latency grow from one minion to a thousand, and to 100,000 requests a second.

`python -m benchmarks.scale`: the simulator that `demitasse plan` uses, on more machines
than there are here. Its assumptions are printed. What a coordinator burns to choose a
minion is not simulated but measured, with the real fleet.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.servers import machine
from coordinator.fleet import Fleet
from coordinator.link import Link
from coordinator.replica import Place
from minion.host.dispatch import Ran
from minion.host.simulation import Arrival, Outcome, Setting, simulate
from wire.flows import Flow
from wire.status import Status
from wire.tuning import Tuning

#: A batch of n takes so many seconds, give or take; 160 examples a second in batches of 16.
FIXED, EACH, BATCH, SPREAD = 0.02, 0.005, 16, 0.1
RATE = 100.0
LIMIT = 64
PER_COORDINATOR = 5000.0
CALLERS = 10_000
REQUESTS = 150_000
MINIONS = (1, 3, 10, 30, 100, 300, 1000)
COORDINATORS = (1, 5, 20, 100)

ASSUMPTIONS = f"""\
- Poisson arrivals of {CALLERS:,} callers, {RATE:g} a second for each minion, which can do 160.
- A minion is a device that takes {FIXED * 1000:g} ms + {EACH * 1000:g} ms an example, give or take
  {SPREAD:.0%}; batches of up to {BATCH}, queue limit {LIMIT}.
- A coordinator for each {PER_COORDINATOR:,.0f} requests a second, which hears every 20 ms of what
  the others sent.
- A message takes no time, and no coordinator is short of a core: times are those in the lane.
- {REQUESTS:,} requests each, which with {max(MINIONS):,} minions come in
  {REQUESTS / RATE / max(MINIONS):.1f} s. All begin empty."""


class Device:
    """The same for every minion."""

    def __init__(self) -> None:
        self._draw = random.Random(1)

    def seconds(self, size: int, running: int) -> float:
        return (FIXED + EACH * size) * self._draw.uniform(1 - SPREAD, 1 + SPREAD)

    def observed(self) -> Sequence[Ran]:
        return [Ran(size, FIXED + EACH * size, 1) for size in (1, 2, 4, 8, 16)]


def arrivals(rate: float) -> Iterator[Arrival]:
    draw = np.random.default_rng(1)
    moments = np.cumsum(draw.exponential(1 / rate, REQUESTS)).tolist()
    callers = draw.integers(CALLERS, size=REQUESTS).tolist()
    for at, caller in zip(moments, callers, strict=True):
        yield Arrival(at, 1000, 30.0, Flow(0, caller))


def played(minions: int, coordinators: int) -> Outcome:
    tuning = Tuning(LIMIT, BATCH, 0.005, 0)
    setting = Setting(tuning, machines=minions, coordinators=coordinators)
    return simulate(arrivals(RATE * minions), setting, Device())


class Told(NamedTuple):
    """What the fleet asks of a link."""

    status: Status
    stuck: bool = False

    def close(self) -> None: ...


async def choosing_seconds(minions: int) -> float:
    """What it takes the fleet of a coordinator to find the one with the most room."""
    fleet = Fleet("benchmark")
    places = [Place(str(number), "x", "1.0.0", "unix:/nowhere", 1) for number in range(minions)]
    fleet.update(places)
    told = Told(_status())
    for replica in fleet.all():
        replica._link = cast(Link, told)
    times = max(20_000 // minions, 20)
    best = min(_timed(fleet, times) for _ in range(5))
    fleet.stop()
    return best


def _timed(fleet: Fleet, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        fleet.reserve("x", "1.0.0").close()
    return (time.perf_counter() - began) / times


def _status() -> Status:
    return Status(True, False, LIMIT, 0, 0.01)


def figures(outcome: Outcome) -> list[str]:
    p50, p95, p99 = 1000 * np.quantile(np.asarray(outcome.seconds), (0.5, 0.95, 0.99))
    answered = len(outcome.seconds)
    return [
        f"{p50:.0f}", f"{p95:.0f}", f"{p99:.0f}", f"{outcome.refused / outcome.arrived:.2%}",
        f"{answered / outcome.batches.total():.1f}",
        f"{1000 * outcome.busy_seconds / answered:.1f}",
    ]  # fmt: skip


_FIGURES = ("p50 ms", "p95", "p99", "429", "batch", "device ms each")


def by_minions() -> Table:
    headings = (
        "minions",
        "requests/s",
        "coordinators",
        *_FIGURES,
        "choosing, µs",
        "cores for that",
    )
    table = _table("From one minion to a thousand", headings)
    for minions in MINIONS:
        rate = RATE * minions
        coordinators = max(round(rate / PER_COORDINATOR), 1)
        choosing = asyncio.run(choosing_seconds(minions))
        table.add_row(
            f"{minions:,}", f"{rate:,.0f}", str(coordinators),
            *figures(played(minions, coordinators)),
            f"{choosing * 1e6:.1f}", f"{choosing * rate:.2g}",
        )  # fmt: skip
    return table


def by_coordinators(minions: int) -> Table:
    table = _table(
        f"{minions} minions, {RATE * minions:,.0f} requests/s", ("coordinators", *_FIGURES)
    )
    for coordinators in COORDINATORS:
        table.add_row(str(coordinators), *figures(played(minions, coordinators)))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    console = Console(width=130)
    console.print(machine())
    console.print(ASSUMPTIONS, highlight=False)
    console.print(by_minions())
    console.print(by_coordinators(300))


if __name__ == "__main__":
    main()
