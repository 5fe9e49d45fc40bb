"""One item, everybody who is wanted, all up at once; what was measured of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.items import ITEMS
from benchmarks.peers.measure import LOOP, Offline, Table, compare, offline
from benchmarks.peers.plan import Plan, contestants
from benchmarks.peers.results import Entry
from benchmarks.peers.serving import Contestant, label, serving
from benchmarks.peers.task import Lent
from benchmarks.servers import CannotStart

IDLE_SECONDS = 2.0


Key = tuple[str, Lent]


def measured(plan: Plan) -> list[Entry]:
    """One entry per server or loop, and what it was lent."""
    servers: dict[Key, Contestant] = {}
    loops: dict[Key, Offline] = {}
    with contextlib.ExitStack() as stack:
        entries = _start(plan, stack, servers, loops)
        idle = idle_cores(list(servers.values()))
        print(f"{plan.item}: measuring", flush=True)
        table = compare(
            list(servers.values()), list(loops.values()), plan.connections,
            rounds=plan.rounds, seconds=plan.seconds,
        )  # fmt: skip
        entries += [
            plan.entry(
                *key, cells=cells_of(table, each.name), start_seconds=each.start_seconds,
                idle_cores=idle[each.name], memory_mib=each.tree.memory_bytes() / 2**20,
            )
            for key, each in servers.items()
        ]  # fmt: skip
    return entries + [
        plan.entry(*key, cells=cells_of(table, loop.name)) for key, loop in loops.items()
    ]


def _start(
    plan: Plan,
    stack: contextlib.ExitStack,
    servers: dict[Key, Contestant],
    loops: dict[Key, Offline],
) -> list[Entry]:
    """Fills both; entries of those that could not be started."""
    item = ITEMS[plan.item]
    failures = []
    for server, lent in contestants(plan):
        print(f"{plan.item}: starting {label(server, lent)}", flush=True)
        if server == LOOP:
            loops[server, lent] = stack.enter_context(offline(item, plan.workers, lent))
            continue
        try:
            started = stack.enter_context(serving(server, item, plan.workers, lent))
        except CannotStart as error:
            print(f"{server}: {error}", flush=True)
            failures.append(plan.entry(server, lent, cannot_start=str(error)))
        else:
            servers[server, lent] = started
    return failures


def cells_of(table: Table, name: str) -> dict[str, Any]:
    """A server's part, by connections."""
    return {str(count): cell for (server, count), cell in table.items() if server == name}


def idle_cores(servers: Sequence[Contestant]) -> dict[str, float]:
    """What each burns while nobody asks: the others run on the same cores."""
    before = {each.name: each.tree.cpu_seconds() for each in servers}
    time.sleep(IDLE_SECONDS)
    return {
        each.name: (each.tree.cpu_seconds() - before[each.name]) / IDLE_SECONDS for each in servers
    }
