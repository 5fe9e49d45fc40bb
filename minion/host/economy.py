"""What it is worth to wait for company, and into what batches to part those who wait.

Waiting costs each member of the forming batch the time that is waited. It
brings, by what was learned of arrivals, so many joiners a second, and each
saves the device what a batch costs however small it is. So a batch is held
open while `joiners per second * fixed seconds > members`: where the fixed part
alone would keep the device busy. The window of the operator is the limit.

Those who wait are shared out so that the last of them is answered soonest: in
halves where two workers have a core each, in one batch where they would only
get in each other's way. No batch is larger than it pays.

What is sent ahead of its turn can no longer be taken back when its caller
leaves: only short batches are. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minion.host.company import Company
from minion.host.cost import BatchCost

#: A batch sent ahead may be computed for nobody, and stands before whoever comes: no more than
#: this. What it gains, the gap between two batches, is a hundredth of that.
MAX_AHEAD_SECONDS = 0.02
#: What is left for a worker that is still busy must be answered sooner by so much.
CLEARLY_SOONER = 0.8


class Economy:
    """Decides from a lane's learned cost and its learned company."""

    def __init__(self, cost: BatchCost, company: Company) -> None:
        self._cost = cost
        self._company = company

    def batch_seconds(self, size: int, *, busy_workers: int) -> float:
        """What a batch is expected to take beside so many; 0 before anything was observed."""
        return self._cost.seconds(size, running=busy_workers + 1)

    def worth_waiting_until(
        self, members: int, *, idle_workers: int, busy_workers: int, now: float
    ) -> float:
        """The moment until which so many may be held for others; -inf: not at all."""
        if idle_workers > 1:
            # Whoever comes next has a worker of his own.
            return -math.inf
        saved = self._cost.fixed_seconds(running=busy_workers + 1)
        if saved is None:
            # Nothing has run yet: the operator's guess is the only one.
            return math.inf
        return self._company.worth_waiting_until(members, saved, now)

    def share(
        self, waiting: int, limit: int, *, idle_workers: int, free_in: Sequence[float]
    ) -> int:
        """How many of those who wait each batch takes, at most `limit`.

        Args:
            free_in: seconds until each busy worker is expected to be free. Some may be
                left for it: else one worker takes all, again and again.
        """
        if idle_workers == 1 and not free_in:
            return self._cost.paying_size(min(waiting, limit), running=1)
        best, soonest = 0, math.inf
        begins = [0.0] * idle_workers + sorted(free_in)
        # From many to few: what was never tried costs nothing as far as is known, and is tried.
        # Those who leave some for a busy worker come last: they have to be clearly better.
        by_preference = [*range(idle_workers, 0, -1), *range(idle_workers + 1, len(begins) + 1)]
        for parts in by_preference:
            if parts > waiting:
                continue
            running = min(len(free_in) + parts, len(begins))
            size = self._cost.paying_size(min(-(-waiting // parts), limit), running=running)
            rounds = -(-waiting // (parts * size))
            seconds = begins[parts - 1] + rounds * self._cost.seconds(size, running=running)
            if seconds < soonest * (1.0 if parts <= idle_workers else CLEARLY_SOONER):
                best, soonest = size, seconds
        return best

    def ahead(self, limit: int, *, busy_workers: int) -> int | None:
        """From which size on a batch may be sent to a worker that still runs one.

        It gains nothing by growing then. None where batches take so long, or may,
        that the gap between two is nothing beside what could be computed for nobody.
        """
        size = self._cost.paying_size(limit, running=busy_workers)
        seconds = self._cost.seconds(size, running=busy_workers)
        return size if 0 < seconds <= MAX_AHEAD_SECONDS else None
