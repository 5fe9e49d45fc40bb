"""Who is let in, and how many.

A bouncer's limit is the one that is tuned, or follows from a promise and from what
batches take; and whoever cannot be answered in time is refused though there is room.
Facts and the time in, decisions out: `lane` tells of them, `simulation` counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minion.host.bouncer import Bouncer
from minion.host.dispatch import Dispatcher
from minion.host.promise import limit_of
from minion.host.standing import Standing, standing_limit
from wire.flows import Flow
from wire.tuning import Tuning

#: What is learned from batches moves the limit at most this often: a short one costs less.
LEARNED_INTERVAL_SECONDS = 0.02


class TooLate(Exception):
    """There is room, and too many are before it."""

    def __init__(self, expected_seconds: float, left_seconds: float) -> None:
        super().__init__(
            f"an answer is expected in {expected_seconds:.3g} s, "
            f"the deadline is in {left_seconds:.3g} s"
        )
        self.expected_seconds = expected_seconds
        self.left_seconds = left_seconds


class Admission:
    """The door of one lane."""

    def __init__(self, tuning: Tuning, dispatcher: Dispatcher[Any], workers: int) -> None:
        """
        Args:
            workers: how many batches may run side by side.
        """
        self.bouncer = Bouncer(1)
        self.workers = workers
        self._tuning = tuning
        self._dispatcher = dispatcher
        self._seconds_alone = self._seconds_each = 0.0  # as last learned
        self._learns_from = 0.0
        self._standing = Standing()
        self.stands = False
        """Whether the limit is lower than the promise allows, since the queue stands."""
        self.set_limit()

    @property
    def seconds_per_example(self) -> float:
        """How often, in seconds, a place becomes free while the lane is busy."""
        return self._dispatcher.cost.seconds_per_example(
            max_batch_size=self._tuning.max_batch_size, workers=self.workers
        )

    def tune(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.set_limit()

    def admit(
        self,
        flow: Flow,
        timeout_seconds: float | None,
        now: float,
        *,
        idle: Callable[[], object],
    ) -> None:
        """One comes in.

        Args:
            flow: whose turn it waits for.
            timeout_seconds: after which nobody wants it computed any more.
            idle: tells whether a worker has nothing to do; asked where it matters.

        Raises:
            QueueFull, TooLate: it does not.
        """
        if timeout_seconds is not None:
            self._refuse_if_too_late(flow, timeout_seconds, now, idle)
        bouncer = self.bouncer
        bouncer.admit()
        if bouncer.occupied >= bouncer.limit:
            self._standing.full(now, emptied=self._dispatcher.queue.emptied)

    def learned(self, now: float) -> bool:
        """Something was, of what a batch takes; whether the limit has moved."""
        stands = self._stands(now)
        if now < self._learns_from and stands == self.stands:
            return False
        self.stands = stands
        self._learns_from = now + LEARNED_INTERVAL_SECONDS
        self._seconds_alone = self._dispatcher.cost.seconds_alone()
        self._seconds_each = self.seconds_per_example
        return self.set_limit()

    def left(self, now: float) -> bool:
        """Somebody has, and may have been the last; whether the limit has moved."""
        if not self.stands or self._stands(now):
            return False
        self.stands = False
        return self.set_limit()

    def set_limit(self) -> bool:
        """The limit that is tuned, or that follows from the promise; whether it is another."""
        promise, limit = self._tuning.promise_seconds, self._tuning.queue_limit
        self.basis = self._dispatcher.cost.basis(
            max_batch_size=self._tuning.max_batch_size,
            workers=self.workers,
            delay_seconds=self._tuning.max_queue_delay_seconds,
        )
        """What was known when the limit was set, which follows from it under a promise."""
        if limit is None:
            assert promise is not None
            limit = limit_of(promise, self.basis)
            if self.stands:
                limit = standing_limit(limit, self.basis)
        before, self.bouncer.limit = self.bouncer.limit, limit
        return limit != before

    def seconds_until_room(self) -> float:
        """Until one more may enter a full lane."""
        return self._dispatcher.cost.seconds_until_room(
            occupied=self.bouncer.occupied,
            limit=self.bouncer.limit,
            max_batch_size=self._tuning.max_batch_size,
            workers=self.workers,
        )

    def _stands(self, now: float) -> bool:
        """A queue limit is kept to the letter; what a promise needs is ours to say."""
        promise, emptied = self._tuning.promise_seconds, self._dispatcher.queue.emptied
        return promise is not None and self._standing.lasts(now, emptied=emptied, seconds=promise)

    def _refuse_if_too_late(
        self, flow: Flow, timeout_seconds: float, now: float, idle: Callable[[], object]
    ) -> None:
        """An empty lane lets everybody in: what was learned may be wrong, or not be true any
        more, and nobody would ever find out."""
        occupied = self.bouncer.occupied
        if not 0 < occupied < self.bouncer.limit:
            return
        if timeout_seconds >= self._seconds_alone + occupied * self._seconds_each:
            return
        dispatcher = self._dispatcher
        seconds = self._seconds_alone + dispatcher.queue.ahead(flow) * self._seconds_each
        if not idle():
            seconds += dispatcher.first_free_in(now)
        if timeout_seconds < seconds:
            self.bouncer.too_late += 1
            raise TooLate(seconds, timeout_seconds)
