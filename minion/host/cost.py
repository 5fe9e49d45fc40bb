"""What a batch costs, learned from what the workers really take.

`t(n) = a + b * n`, fitted by least squares in which older batches count less
and less. Pure arithmetic; the lane observes, the bouncer's refusals ask.
"""

from __future__ import annotations

#: A batch of 50 ago weighs 0.36: a model that slows down is noticed within tens of batches.
DECAY = 0.98
#: What the refused are told to wait for each place before any batch has been measured.
UNKNOWN_SECONDS_PER_EXAMPLE = 1.0


class BatchCost:
    """Seconds per batch by batch size."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._sizes = 0.0
        self._seconds = 0.0
        self._sizes_squared = 0.0
        self._products = 0.0

    def observe(self, size: int, seconds: float) -> None:
        """One batch of `size` examples took `seconds` in the worker."""
        self._weight = self._weight * DECAY + 1
        self._sizes = self._sizes * DECAY + size
        self._seconds = self._seconds * DECAY + seconds
        self._sizes_squared = self._sizes_squared * DECAY + size * size
        self._products = self._products * DECAY + size * seconds

    def seconds(self, size: int) -> float:
        """Expected seconds for a batch of `size`; 0 before anything was observed."""
        if not self._weight:
            return 0.0
        mean_size = self._sizes / self._weight
        mean_seconds = self._seconds / self._weight
        spread = self._sizes_squared / self._weight - mean_size**2
        if spread < 1e-6 * mean_size**2:
            # Only one size was seen. Blame the examples, not the batch: a guess on the safe side.
            return mean_seconds * size / mean_size
        slope = (self._products / self._weight - mean_size * mean_seconds) / spread
        slope = min(max(slope, 0.0), mean_seconds / mean_size)
        return mean_seconds + slope * (size - mean_size)

    def seconds_per_example(self, *, max_batch_size: int, workers: int) -> float:
        """How often, in seconds, a place becomes free while the lane is busy."""
        return self.seconds(max_batch_size) / max_batch_size / max(workers, 1)

    def seconds_until_room(
        self, *, occupied: int, limit: int, max_batch_size: int, workers: int
    ) -> float:
        """Until so many have left a full lane that one more may enter.

        That is one place at the limit, and more when the limit was lowered. A guess
        of one second a place before anything was observed.
        """
        each = self.seconds_per_example(max_batch_size=max_batch_size, workers=workers)
        return (each or UNKNOWN_SECONDS_PER_EXAMPLE) * (occupied - limit + 1)
