"""The command: which peers, which work items, how long; then the tables."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.items import ITEMS
from benchmarks.peers.measure import LOOP
from benchmarks.peers.overload import overloaded
from benchmarks.peers.plan import Plan, everybody
from benchmarks.peers.report import replaced, report
from benchmarks.peers.results import default_file, merge, read
from benchmarks.peers.roster import PEERS, pinned
from benchmarks.peers.side_by_side import measured
from benchmarks.peers.task import PICTURES, Lent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__)
    parser.add_argument("--peer", nargs="+", action="extend", choices=everybody())
    parser.add_argument("--item", nargs="+", action="extend", choices=list(ITEMS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="of W2 and W4")
    parser.add_argument(
        "--lent", nargs="+", type=Lent, default=list(Lent), choices=list(Lent),
        help="what of ours the peers and the loop are given; Demitasse compiles or does not",
    )  # fmt: skip
    parser.add_argument("--connections", nargs="+", type=int, help="instead of the items' own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--results", type=Path, default=default_file())
    parser.add_argument("--into", type=Path, help="a Markdown file whose tables are replaced")
    parser.add_argument("--only-report", action="store_true", help="measure nothing")
    return parser.parse_args()


def plans(told: argparse.Namespace) -> Iterator[Plan]:
    for name in told.item or ITEMS:
        item = ITEMS[name]
        for workers in told.workers if item.work in PICTURES else [1]:
            yield Plan(
                name, workers, told.peer or everybody(), told.lent,
                told.connections or item.connections, told.rounds, told.seconds,
                time.strftime("%Y-%m-%d %H:%M:%S"), os.getloadavg()[0],
            )  # fmt: skip


def names() -> dict[str, str]:
    """How servers are called in the tables: with versions."""
    versions = {
        name: version("demitasse") if name == "demitasse" else pinned(name) for name in PEERS
    }
    titles = {name: f"{peer.title} {versions[name]}" for name, peer in PEERS.items()}
    return {**titles, LOOP: "*offline loop*"}


def main() -> None:
    told = arguments()
    read(told.results)  # before minutes are spent on what could not be added to it
    if not told.only_report:
        for plan in plans(told):
            merge(told.results, overloaded(plan) if plan.item == "w3" else measured(plan))
    titles = {name: item.title for name, item in ITEMS.items()}
    text = report(read(told.results), titles, names())
    print(text)
    if told.into:
        told.into.write_text(replaced(told.into.read_text(), text))


if __name__ == "__main__":
    main()
