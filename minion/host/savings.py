"""How many device-seconds were not spent, since nobody waited for them any more.

A device-second is a second of a worker. What an example would have cost is
learned from those that ran, by its work (`inputs.Group`). Pure.
"""

from __future__ import annotations

from collections import defaultdict

from minion.host.bouncer import Ending

#: A batch of 50 ago weighs 0.36, as in `cost`.
DECAY = 0.98


class Savings:
    """Device-seconds by why they were saved."""

    def __init__(self) -> None:
        self.seconds: defaultdict[Ending, float] = defaultdict(float)
        """`EXPIRED` and `ABANDONED`: of those who left before they reached a worker."""
        self._work = 0.0
        self._spent = 0.0

    def ran(self, work: float, seconds: float) -> None:
        """A batch of so much work took a worker so long."""
        self._work = self._work * DECAY + work
        self._spent = self._spent * DECAY + seconds

    def save(self, ending: Ending, work: float) -> None:
        """So much work was not done. Counts nothing before the first batch was measured."""
        if self._work:
            self.seconds[ending] += work * self._spent / self._work
