"""`make bench`: what Demitasse costs and yields, of floors and limits measured in the same run.

The road is a no-op model behind coordinator, host and worker: its CPU, of bare
aiohttp's. Batching and photos are ResNet-18 with two workers: images per
second, of the loop without a server. Ratios that are worse by a third than
`baseline.json` end it with status 1; `make bench-accept` makes them the accepted ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers.items import ITEMS
from benchmarks.peers.measure import LOOP, NO_CONNECTIONS, Figures, compare, offline
from benchmarks.peers.serving import label, serving
from benchmarks.peers.task import Lent
from benchmarks.ratios import Better, Ratio, complaints
from benchmarks.servers import machine

BASELINE = Path(__file__).with_name("baseline.json")
ROUNDS = 3
ROAD_SECONDS = 2.0
ROAD_CONNECTIONS = (1, 64)
PHOTO_SECONDS = 4.0
PHOTO_CONNECTIONS = 32
WORKERS = 2
OURS, FLOOR, LIMIT = (label(name, Lent.DECODER) for name in ("demitasse", "aiohttp", LOOP))


def road(name: str) -> list[Ratio]:
    """CPU per request, of the floor's."""
    item = ITEMS[name]
    with contextlib.ExitStack() as running:
        servers = [
            running.enter_context(serving(each, item, 1, Lent.DECODER))
            for each in ("demitasse", "aiohttp")
        ]
        found = compare(servers, [], ROAD_CONNECTIONS, rounds=ROUNDS, seconds=ROAD_SECONDS)
    refuse_failures(name, found)
    return [
        Ratio(
            f"{name} at {count}: CPU, of bare aiohttp",
            found[OURS, count].cpu / found[FLOOR, count].cpu,
            Better.LOWER,
        )
        for count in ROAD_CONNECTIONS
    ]


def yields(name: str) -> list[Ratio]:
    """Images per second, of the offline loop's with the same decoder."""
    item = ITEMS[name]
    with (
        serving("demitasse", item, WORKERS, Lent.DECODER) as ours,
        offline(item, WORKERS, Lent.DECODER) as loop,
    ):
        found = compare([ours], [loop], [PHOTO_CONNECTIONS], rounds=ROUNDS, seconds=PHOTO_SECONDS)
    refuse_failures(name, found)
    value = found[OURS, PHOTO_CONNECTIONS].rate / found[LIMIT, NO_CONNECTIONS].rate
    return [Ratio(f"{name} at {PHOTO_CONNECTIONS}: images, of the loop", value, Better.HIGHER)]


def refuse_failures(item: str, found: Mapping[tuple[str, int], Figures]) -> None:
    """Ends it where requests failed: who answers less, or nothing, costs less as well."""
    failed = [
        f"{item}: {server} failed {each.failed:g} requests at {connections}"
        for (server, connections), each in found.items()
        if each.failed
    ]
    if failed:
        sys.exit("\n".join(failed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="write the ratios to baseline.json")
    accept = parser.parse_args().accept
    measured = [*road("w1b"), *road("w1"), *yields("pixels"), *yields("w2")]
    if accept:
        ratios = {ratio.name: round(ratio.value, 3) for ratio in measured}
        content = {"machine": machine(), "ratios": ratios}
        BASELINE.write_text(json.dumps(content, indent=2) + "\n")
    accepted = json.loads(BASELINE.read_text())["ratios"]
    _print(measured, accepted)
    worse = complaints(measured, accepted)
    if worse:
        sys.exit("\n".join(["worse than what was accepted:", *worse]))


def _print(measured: list[Ratio], accepted: dict[str, float]) -> None:
    table = Table(title=machine())
    for heading in ("ratio", "now", "accepted", "better"):
        table.add_column(heading)
    for ratio in measured:
        before = accepted.get(ratio.name)
        shown = "" if before is None else f"{before:.2f}"
        table.add_row(ratio.name, f"{ratio.value:.2f}", shown, ratio.better.value)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
