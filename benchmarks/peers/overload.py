"""W3: what a server still does when more is asked of it than it can do.

One server at a time, since one that is overloaded disturbs the others. Its peak
is what a closed loop gets from it just before.
"""

from __future__ import annotations

import time
from collections import Counter

from benchmarks.openloop import GIVEN_UP, LOST, Arrivals, Phase, Seen, offer
from benchmarks.peers.items import ITEMS
from benchmarks.peers.measure import LOOP, WARMUP_SECONDS, figures
from benchmarks.peers.plan import Plan, contestants
from benchmarks.peers.results import Entry, Outcome
from benchmarks.peers.serving import label, serving
from benchmarks.servers import CannotStart

FACTORS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: For what is still queued to be worked off, or given up.
REST_SECONDS = 2.0
#: A good answer has status 200, and comes within:
DEADLINE_SECONDS = 2.0
_NO_ANSWER = {LOST: "lost", GIVEN_UP: "given up"}


def overloaded(plan: Plan) -> list[Entry]:
    """One entry per server; its cell is the peak."""
    item = ITEMS[plan.item]
    entries = []
    for server, lent in contestants(plan):
        if server == LOOP:
            continue
        print(f"{plan.item}: {label(server, lent)}", flush=True)
        try:
            with serving(server, item, plan.workers, lent) as started:
                connections = max(plan.connections)
                figures(started, connections, WARMUP_SECONDS)
                peak = figures(started, connections, plan.seconds)
                overload: dict[str, Outcome] = {}
                for factor in FACTORS:
                    rate = factor * peak.rate
                    arrivals = Arrivals([Phase(rate, plan.seconds)])
                    seen = offer(started.url, started.request, arrivals)
                    overload[f"{factor:g}"] = outcome(seen, plan.seconds)
                    time.sleep(REST_SECONDS)
        except CannotStart as error:
            entries.append(plan.entry(server, lent, cannot_start=str(error)))
        else:
            cells = {str(connections): peak}
            entries.append(plan.entry(server, lent, cells=cells, overload=overload))
    return entries


def outcome(seen: Seen, seconds: float) -> Outcome:
    """What became of those who set out within so many seconds."""
    found = Counter(
        "late" if status == 200 and taken > DEADLINE_SECONDS
        else _NO_ANSWER.get(status, str(status))
        for status, taken in zip(seen.status.tolist(), seen.seconds.tolist(), strict=True)
    )  # fmt: skip
    return Outcome(len(seen.due) / seconds, found["200"] / seconds, dict(found))
