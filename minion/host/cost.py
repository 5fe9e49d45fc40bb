"""What a batch costs, learned from what the workers really take.

For each number of batches that run side by side there is a curve: workers may
have a core each, or share one device. `t(n) = a + b * n` is fitted by least
squares in which older batches count less and less; what no line tells, the size
past which examples do not get cheaper any more, is read from averages by size. What a single
batch may be off, and when a device has become another, is `drift`'s to say.
Pure arithmetic; the lane observes, `economy`, `promise` and refusals ask.
"""

from __future__ import annotations

from collections.abc import Iterable

from minion.host.drift import DECAY, MAX_STEP, Drift, Observed
from minion.host.promise import Basis

#: The same for batches of about one size, which are seen less often.
SIZE_DECAY = 0.95
#: What was known of a device before it changed its speed weighs as much as so many batches.
CHANGED_WEIGHT = 8.0
#: Sizes whose cost per example differs by less are equally good, and the smallest is taken.
TOLERANCE = 0.02
#: After so many batches without one of about a size, that size is tried again.
STALE_AFTER_BATCHES = 128
#: What the refused are told to wait for each place before any batch has been measured.
UNKNOWN_SECONDS_PER_EXAMPLE = 1.0


class Line:
    """Seconds per batch as `a + b * n`."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._sizes = 0.0
        self._seconds = 0.0
        self._sizes_squared = 0.0
        self._products = 0.0
        self._smallest = self._largest = 0

    def covers(self, size: int) -> bool:
        """Whether what it says of this size was seen, or lies between what was."""
        return self._smallest <= size <= self._largest

    def observe(self, size: int, seconds: float) -> None:
        self._smallest = min(self._smallest or size, size)
        self._largest = max(self._largest, size)
        self._weight = self._weight * DECAY + 1
        self._sizes = self._sizes * DECAY + size
        self._seconds = self._seconds * DECAY + seconds
        self._sizes_squared = self._sizes_squared * DECAY + size * size
        self._products = self._products * DECAY + size * seconds

    def scale(self, factor: float) -> None:
        """The device has become slower by so much; what follows shows it better."""
        keep = min(1.0, CHANGED_WEIGHT / self._weight)
        self._weight *= keep
        self._sizes *= keep
        self._seconds *= keep * factor
        self._sizes_squared *= keep
        self._products *= keep * factor

    def seconds(self, size: int) -> float:
        mean_size, mean_seconds, slope = self._line()
        if slope is None:
            # Blame the examples, not the batch: a guess on the safe side.
            return mean_seconds * size / mean_size
        return mean_seconds + slope * (size - mean_size)

    def fixed_seconds(self) -> float:
        """`a`; all of a batch's time while only one size was seen."""
        mean_size, mean_seconds, slope = self._line()
        return mean_seconds - (slope or 0.0) * mean_size

    def _line(self) -> tuple[float, float, float | None]:
        """A point on the line, and its slope unless only one size was seen."""
        mean_size = self._sizes / self._weight
        mean_seconds = self._seconds / self._weight
        spread = self._sizes_squared / self._weight - mean_size**2
        if spread < 1e-6 * mean_size**2:
            return mean_size, mean_seconds, None
        slope = (self._products / self._weight - mean_size * mean_seconds) / spread
        return mean_size, mean_seconds, min(max(slope, 0.0), mean_seconds / mean_size)


class Sizes:
    """Seconds per example, by sizes of up to 1, 2, 4, 8 and so on."""

    def __init__(self) -> None:
        self._examples: dict[int, float] = {}
        self._seconds: dict[int, float] = {}
        self._seen: dict[int, int] = {}
        self._batches = 0
        self._paying: dict[int, int] = {}  # by limit, until the next batch

    def observe(self, size: int, seconds: float) -> None:
        self._paying.clear()
        about = _about(size)
        self._batches += 1
        self._seen[about] = self._batches
        self._examples[about] = self._examples.get(about, 0.0) * SIZE_DECAY + size
        self._seconds[about] = self._seconds.get(about, 0.0) * SIZE_DECAY + seconds

    def paying(self, limit: int) -> int:
        """The smallest size up to `limit` at which examples are about as cheap as they get.

        Now and then it is another one, so that its cost is known.
        """
        found = self._paying.get(limit)
        if found is None:
            found = self._paying[limit] = self._find_paying(limit)
        return found

    def _find_paying(self, limit: int) -> int:
        top = _about(limit)
        if not self._is_known(top):
            return limit
        each = {
            about: self._seconds[about] / self._examples[about]
            for about in range(top + 1)
            if self._is_known(about)
        }
        bound = min(each.values()) * (1 + TOLERANCE)
        about = min(about for about, seconds in each.items() if seconds <= bound)
        if about and not self._is_known(about - 1):
            about -= 1
        return min(1 << about, limit)

    def _is_known(self, about: int) -> bool:
        return self._batches - self._seen.get(about, -STALE_AFTER_BATCHES) < STALE_AFTER_BATCHES


def _about(size: int) -> int:
    """The power of two that is the next above, or the size itself."""
    return (size - 1).bit_length()


class BatchCost:
    """Seconds per batch, by its size and by how many run side by side."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}
        self._sizes: dict[int, Sizes] = {}
        self._drifts: dict[int, Drift] = {}

    def observe(self, size: int, seconds: float, *, running: int = 1) -> None:
        """One batch of `size` examples took a worker `seconds`, as one of `running`."""
        line = self._lines.get(running)
        if line is None:
            self._lines[running], self._sizes[running] = Line(), Sizes()
            self._drifts[running] = Drift()
            self._lines[running].observe(size, seconds)
        elif not line.covers(size):
            line.observe(size, seconds)
        elif (expected := line.seconds(size)) > 0:
            drift = self._drifts[running]
            believed, changed = drift.observe(size, seconds, expected)
            line.observe(size, believed)
            if changed is not None:
                self._change(_factor(changed.batches, line))
                drift.restart(changed)
        self._sizes[running].observe(size, seconds)

    def _change(self, factor: float) -> None:
        """What slows a device down slows it however many batches run."""
        for line in self._lines.values():
            line.scale(factor)

    def basis(self, *, max_batch_size: int, workers: int, delay_seconds: float) -> Basis:
        """What a limit follows from that is to keep a promise."""
        running = self._nearest_number(workers)
        if running is None:
            return Basis(workers, max_batch_size, 0.0, 0.0, 0.0, 0.0, delay_seconds)
        line, drift = self._lines[running], self._drifts[running]
        return Basis(
            workers,
            max_batch_size,
            line.seconds(1),
            line.seconds(max_batch_size),
            drift.deviation,
            drift.uncertainty,
            delay_seconds if max_batch_size > 1 else 0.0,
        )

    def seconds_alone(self) -> float:
        """What a batch of one takes; 0 before anything was observed."""
        line = self._nearest(1)
        return line.seconds(1) if line else 0.0

    def seconds(self, size: int, *, running: int = 1) -> float:
        """Expected seconds for a batch of `size`; 0 before anything was observed."""
        line = self._lines.get(running)
        return line.seconds(size) if line else 0.0

    def paying_size(self, limit: int, *, running: int = 1) -> int:
        """The smallest size up to `limit` at which examples are about as cheap as they get."""
        sizes = self._sizes.get(running)
        return sizes.paying(limit) if sizes else limit

    def fixed_seconds(self, *, running: int = 1) -> float | None:
        """What a batch costs before its first example, and two that are joined save once.

        While only one size was seen it may be all of that batch's time; None
        before anything was observed.
        """
        line = self._nearest(running)
        return line.fixed_seconds() if line else None

    def _nearest(self, running: int) -> Line | None:
        """What is known of so many side by side, or of the number nearest to it."""
        nearest = self._nearest_number(running)
        return None if nearest is None else self._lines[nearest]

    def _nearest_number(self, running: int) -> int | None:
        return min(self._lines, key=lambda known: abs(known - running), default=None)

    def seconds_per_example(self, *, max_batch_size: int, workers: int) -> float:
        """How often, in seconds, a place becomes free while the lane is busy."""
        line = self._nearest(workers)
        return line.seconds(max_batch_size) / max_batch_size / max(workers, 1) if line else 0.0

    def seconds_until_room(
        self, *, occupied: int, limit: int, max_batch_size: int, workers: int
    ) -> float:
        """Until so many have left a full lane that one more may enter.

        That is one place at the limit, and more when the limit was lowered. A guess
        of one second a place before anything was observed.
        """
        each = self.seconds_per_example(max_batch_size=max_batch_size, workers=workers)
        return (each or UNKNOWN_SECONDS_PER_EXAMPLE) * (occupied - limit + 1)


def _factor(batches: Iterable[Observed], line: Line) -> float:
    """How much longer these took than the line says by now, as far as it is believed at once."""
    taken = expected = 0.0
    for batch in batches:
        taken += batch.seconds
        expected += line.seconds(batch.size)
    return min(max(taken / expected, 1 / MAX_STEP), MAX_STEP)
