"""How batches deviate from what was expected of them, and when that is no chance any more.

A batch now and then takes a hundred times as long, inputs come in two kinds of
which one takes five times as long as the other, and a device that others use too
becomes half as fast. The first should not be believed, the second is a wide but
steady deviation, the third has to be believed soon. Pure; `cost` asks for every
batch what to learn from it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

#: A batch of 50 ago weighs 0.36.
DECAY = 0.98
#: What is assumed of a model of which nothing is known: a deviation by a fifth, as if one
#: batch had shown it.
ASSUMED_DEVIATION = 0.2
#: Deviations by less are the machine's, whatever the model's own are: no change is seen in them.
LEAST_DEVIATION = 0.05
#: No batch is believed to be off by more standard deviations. Those of one in fifty and more
#: widen the deviation until they are believed in full; those that are rarer never do.
BELIEVED = 6.0
#: Page's CUSUM, in standard deviations: what each batch may be off for nothing, what it counts
#: at most, and the sum at which there is a change. Three in a row that are far off make one,
#: two do not; chance alone makes one in some thousand batches.
SLACK = 0.5
MOST = 4.0
CHANGED = 9.0
#: A change is measured over at most so many batches,
MAX_RUN = 64
#: and believed up to this factor at once. What is beyond is seen three batches later.
MAX_STEP = 4.0


class Observed(NamedTuple):
    """One batch of `size` took `seconds`."""

    size: int
    seconds: float


class Run:
    """Batches that were off to one side, for as long as that may be no chance."""

    __slots__ = ("_side", "_sum", "batches", "before")

    def __init__(self, side: float) -> None:
        self.batches: deque[Observed] = deque(maxlen=MAX_RUN)
        self.before = (0.0, 0.0)
        """The deviation as it was before they began."""
        self._side = side
        self._sum = 0.0

    def concerns(self, off: float) -> bool:
        """Whether a batch that is off by so many standard deviations is to be observed."""
        return self._sum > 0 or self._side * off > SLACK

    def observe(self, batch: Observed, off: float, state: tuple[float, float]) -> bool:
        """Whether this makes a change of it."""
        self._sum += min(self._side * off, MOST) - SLACK
        if self._sum <= 0:
            self.clear()
            return False
        if not self.batches:
            self.before = state
        self.batches.append(batch)
        return self._sum >= CHANGED

    def clear(self) -> None:
        self._sum = 0.0
        self.batches.clear()


class Drift:
    """What there is to know of deviations, as parts of what was expected."""

    def __init__(self) -> None:
        self._weight = 1.0
        self._squares = ASSUMED_DEVIATION**2
        self._unit = ASSUMED_DEVIATION
        self._slower = Run(1.0)
        self._faster = Run(-1.0)

    @property
    def deviation(self) -> float:
        """Of one batch: one standard deviation."""
        return math.sqrt(self._squares / self._weight)

    @property
    def uncertainty(self) -> float:
        """Of what is expected."""
        return self.deviation / math.sqrt(self._weight)

    def observe(self, size: int, seconds: float, expected: float) -> tuple[float, Run | None]:
        """What to believe of a batch; and those since the change, if it shows that there was one.

        Args:
            expected: seconds, above 0.
        """
        beyond = seconds / expected - 1
        off = beyond / self._unit
        changed = None
        for run in (self._slower, self._faster):
            if run.concerns(off):
                state = (self._weight, self._squares)
                if run.observe(Observed(size, seconds), off, state):
                    changed = run
        beyond = min(beyond, BELIEVED * self._unit)
        self._weight = self._weight * DECAY + 1
        self._squares = self._squares * DECAY + beyond * beyond
        self._unit = max(math.sqrt(self._squares / self._weight), LEAST_DEVIATION)
        return expected * (1 + beyond), changed

    def restart(self, run: Run) -> None:
        """What is expected was put right for this run: it was no deviation."""
        weight, squares = run.before
        self._weight = min(weight, float(len(run.batches)))
        self._squares = squares / weight * self._weight
        self._unit = max(self.deviation, LEAST_DEVIATION)
        self._slower.clear()
        self._faster.clear()
