"""How many may be let in so that the last of them is answered in time.

A promise is seconds; what the door counts is examples. This turns the one into
the other, from what batches are known to take and how well that is known. Pure
arithmetic: the lane asks again whenever something was learned.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: How much later than promised the last may be expected: the road adds its own, and what a
#: batch takes is not known better than that. 5 s and batches of 501 ms make ten, not nine.
TOLERANCE = 0.05
#: Standard deviations above what is expected: one in a hundred may be later.
QUANTILE = 2.33
#: No promise lets in more, as no queue limit may be set higher.
MAX_LIMIT = 1_000_000


class Basis(NamedTuple):
    """What a limit follows from."""

    workers: int
    batch_size: int
    """Of a full batch."""
    alone_seconds: float
    """What a batch of one takes; 0 before anything was measured."""
    batch_seconds: float
    """What a full batch takes, with all workers busy."""
    deviation: float
    """Of one batch from what is expected, as a part of it: one standard deviation."""
    uncertainty: float
    """The same, of what is expected itself."""
    delay_seconds: float
    """For which a batch that is not full may be held open."""


def answered_within(examples: int, basis: Basis) -> float:
    """Seconds in which the last of so many is answered, all but one time in a hundred.

    At worst it comes when a batch of one has just begun on every worker: all others wait
    for that, then for full batches, and the last goes with what is left. Or all come at once.
    """
    each = basis.workers * basis.batch_size
    waves, left = divmod(examples, each)
    at_once = waves * basis.batch_seconds + _rest(left, basis)
    steps = waves + (left > 0)
    after_one = 0.0
    if examples > basis.workers and basis.batch_size > 1:
        waves, left = divmod(examples - basis.workers, each)
        after_one = basis.alone_seconds + waves * basis.batch_seconds + _rest(left, basis)
        steps = max(steps, 1 + waves + (left > 0))
    expected = max(at_once, after_one)
    # Batches deviate each for itself; what is wrong about what is expected is so for all.
    deviation = math.hypot(basis.deviation / math.sqrt(max(steps, 1)), basis.uncertainty)
    return expected * (1 + QUANTILE * deviation)


def _rest(left: int, basis: Basis) -> float:
    """What the last batches take, between them so many examples fewer than a full wave."""
    if not left:
        return 0.0
    size = -(-left // basis.workers)
    if size == basis.batch_size:
        return basis.batch_seconds
    slope = (basis.batch_seconds - basis.alone_seconds) / max(basis.batch_size - 1, 1)
    return basis.delay_seconds + basis.alone_seconds + max(slope, 0.0) * (size - 1)


def limit_of(promise_seconds: float, basis: Basis) -> int:
    """The most examples, queued plus running, of which the last is answered in time.

    At least 1: a lane that lets nobody in would never learn that it has become faster.
    Before anything was measured, one per worker: nobody waits then for anybody else's batch.
    """
    if not basis.batch_seconds:
        return basis.workers
    bound = promise_seconds * (1 + TOLERANCE)
    low, high = 1, 2
    while high <= MAX_LIMIT and answered_within(high, basis) <= bound:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if answered_within(middle, basis) <= bound else (low, middle)
    return min(low, MAX_LIMIT)
