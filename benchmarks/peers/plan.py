"""What is to be measured, of whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load import wrk
from benchmarks.peers.items import ITEMS
from benchmarks.peers.measure import LOOP
from benchmarks.peers.results import Entry
from benchmarks.peers.roster import PEERS
from benchmarks.peers.task import PICTURES, Lent
from benchmarks.servers import machine


def everybody() -> list[str]:
    return [*PEERS, LOOP]


@dataclass(frozen=True)
class Plan:
    """What to measure, and for how long."""

    item: str
    workers: int
    peers: Sequence[str]
    lent: Sequence[Lent]
    connections: Sequence[int]
    rounds: int
    seconds: float
    run: str
    load_average: float
    """Of the minute before: the cores may be shared."""

    def entry(self, server: str, lent: Lent, **more: Any) -> Entry:
        return Entry(
            server=server, item=self.item, workers=self.workers, lent=lent,
            run=self.run, machine=machine(),
            client="wrk" if wrk() else "Python", load_average=self.load_average,
            rounds=self.rounds, seconds=self.seconds, **more,
        )  # fmt: skip


def contestants(plan: Plan) -> Iterator[tuple[str, Lent]]:
    """Servers with all that they may be lent; where there are no pictures, once.

    Demitasse has its own decoder in any case, and compiles where peers may.
    """
    pictures = ITEMS[plan.item].work in PICTURES
    for server in plan.peers:
        if server == "demitasse":
            yield server, Lent.DECODER
            if pictures and Lent.COMPILED in plan.lent:
                yield server, Lent.COMPILED
        elif pictures:
            yield from ((server, lent) for lent in plan.lent)
        elif server != LOOP:
            yield server, Lent.NOTHING
