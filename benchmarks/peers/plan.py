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
from benchmarks.peers.task import PICTURES, Decoder
from benchmarks.servers import machine


def everybody() -> list[str]:
    return [*PEERS, LOOP]


@dataclass(frozen=True)
class Plan:
    """What to measure, and for how long."""

    item: str
    workers: int
    peers: Sequence[str]
    decoders: Sequence[Decoder]
    connections: Sequence[int]
    rounds: int
    seconds: float
    run: str
    load_average: float
    """Of the minute before: the cores may be shared."""

    def entry(self, server: str, decoder: Decoder, **more: Any) -> Entry:
        return Entry(
            server=server, item=self.item, workers=self.workers, decoder=decoder,
            run=self.run, machine=machine(),
            client="wrk" if wrk() else "Python", load_average=self.load_average,
            rounds=self.rounds, seconds=self.seconds, **more,
        )  # fmt: skip


def contestants(plan: Plan) -> Iterator[tuple[str, Decoder]]:
    """Servers with each decoder that they can have; where nothing is decoded, once."""
    pictures = ITEMS[plan.item].work in PICTURES
    for server in plan.peers:
        if server == "demitasse":
            yield server, Decoder.OURS
        elif pictures:
            yield from ((server, decoder) for decoder in plan.decoders)
        elif server != LOOP:
            yield server, Decoder.PILLOW
