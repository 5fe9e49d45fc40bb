"""What batches would take, drawn from what batches took.

For a size that was seen often enough, one of the batches of this size is drawn: with
all its spread, and both humps where there are two. Any other lies on the learned line,
off by as much as a batch that was seen. Pure; the planner makes one for a simulation.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from minion.host.cost import BatchCost
from minion.host.dispatch import Ran

#: From so many batches on, what a size takes is known without the line.
KNOWN = 8


class Replay:
    """A device that is like the one on which these batches ran; see `simulation.Device`."""

    def __init__(self, ran: Sequence[Ran], *, factor: float = 1.0, seed: int = 0) -> None:
        """
        Args:
            ran: at least one.
            factor: by how much longer all of them take here.
            seed: two devices of one seed draw alike.
        """
        self._ran = [Ran(size, seconds * factor, running) for size, seconds, running in ran]
        self._draw = random.Random(seed).choice
        self._line = BatchCost()
        for size, seconds, running in self._ran:
            self._line.observe(size, seconds, running=running)
        self._sizes: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        self._off: defaultdict[int, list[float]] = defaultdict(list)
        for size, seconds, running in self._ran:
            self._sizes[running, size].append(seconds)
            self._off[running].append(seconds / self._line.seconds(size, running=running))
        self._nearest: dict[int, int] = {}

    @property
    def largest(self) -> int:
        """The largest batch that was seen."""
        return max(size for size, _, _ in self._ran)

    def observed(self) -> Sequence[Ran]:
        return self._ran

    def seconds(self, size: int, running: int) -> float:
        known = self._nearest.get(running)
        if known is None:
            known = min(self._off, key=lambda each: abs(each - running))
            self._nearest[running] = known
        seen = self._sizes.get((known, size), ())
        if len(seen) >= KNOWN:
            return self._draw(seen)
        return self._line.seconds(size, running=known) * self._draw(self._off[known])
