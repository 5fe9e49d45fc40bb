"""Which batch goes to which worker, and when.

All that a lane decides about the examples that it let in, from facts and the time:
the queue, what batches cost and how often company comes, and the batches that run.
No clock, no timer, no worker: `lane` has real ones, `simulation` those of a model
of it, and both ask here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from minion.host.arena import MAX_BATCH_BYTES
from minion.host.batch import Batch, BatchPolicy, Queued, Wait
from minion.host.batching import BatchQueue
from minion.host.company import Company
from minion.host.cost import BatchCost
from minion.host.economy import Economy
from wire.tuning import Tuning

#: What batches took is remembered of so many, for whoever plans.
MAX_RAN = 1024
#: The loop's timers count in milliseconds: what is nearer than half of one is now.
SHORTEST_WAIT_SECONDS = 0.0005

E = TypeVar("E", bound=Queued)


class Ran(NamedTuple):
    """One batch that was answered."""

    size: int
    seconds: float
    running: int
    """The most batches that ran at once while this one did, itself included."""


class Running(Protocol):
    """A batch that a worker runs."""

    started: float
    beside: int
    """The most batches that ran at once while this one did, itself included."""

    @property
    def members(self) -> Sequence[object]: ...


class Dispatcher(Generic[E]):
    """Decides for the examples of one lane."""

    def __init__(self, tuning: Tuning) -> None:
        self.cost = BatchCost()
        self._company = Company()
        self._company.set_window(tuning.max_queue_delay_seconds)
        self.queue: BatchQueue[E] = BatchQueue(policy(tuning), Economy(self.cost, self._company))
        self.ran: deque[Ran] = deque(maxlen=MAX_RAN)
        """The last batches that were answered, oldest first."""
        self._running: set[Running] = set()
        self._newcomers = 0

    def tune(self, tuning: Tuning) -> None:
        if tuning.max_queue_delay_seconds != self.queue.policy.max_queue_delay_seconds:
            self._company.set_window(tuning.max_queue_delay_seconds)
        self.queue.policy = policy(tuning)

    def offer(self, example: E, now: float) -> None:
        """One was let in. Those who come together are offered before `look` is called."""
        self.queue.offer(example, now)
        self._newcomers += 1

    def look(self, now: float) -> None:
        """All who have come by now were offered; to be called before `decide` is."""
        if self._newcomers:
            self._company.arrived(self._newcomers, now)
            self._newcomers = 0

    def decide(self, now: float, *, idle: int, takers: int) -> Batch[E] | Wait | None:
        """What to hand to an idle worker, or to one that takes its next batch if none is idle.

        Args:
            idle: workers that have nothing to do.
            takers: workers that run a batch, and have no next one.

        Returns:
            A batch, which may consist of the late alone; when to ask again at the latest;
            None: nobody waits who could be helped now.
        """
        if idle:
            return self._for_an_idle_one(now, idle)
        if not takers:
            return None
        # So that no worker waits for a batch between two.
        return self.queue.take_ahead(
            now,
            takers=takers,
            busy_workers=len(self._running),
            begins_in=lambda: self._free_in(now),
        )

    def begun(self, batch: Running, now: float) -> None:
        """A worker runs it from now on."""
        batch.started = now
        self._running.add(batch)
        together = len(self._running)
        for each in self._running:
            each.beside = max(each.beside, together)

    def done(self, batch: Running, now: float) -> float:
        """It was answered; returns the seconds that it took."""
        self._running.discard(batch)
        size, seconds = len(batch.members), now - batch.started
        self.cost.observe(size, seconds, running=batch.beside)
        self.ran.append(Ran(size, seconds, batch.beside))
        return seconds

    def ended(self, batch: Running) -> None:
        """It runs no more, and was not answered."""
        self._running.discard(batch)

    def answered(self, now: float, *, left: int) -> None:
        """The members of a batch have left, so many others are in the lane."""
        self._company.answered(now, left=left)

    def first_free_in(self, now: float) -> float:
        """Seconds until a worker has done what it runs: of several, the first."""
        return min((self._expected_seconds(batch, now) for batch in self._running), default=0.0)

    def _for_an_idle_one(self, now: float, idle: int) -> Batch[E] | Wait | None:
        free_in = [self._expected_seconds(batch, now) for batch in self._running]
        decision = self.queue.take(now, idle_workers=idle, free_in=free_in)
        if isinstance(decision, Wait) and decision.until - now < SHORTEST_WAIT_SECONDS:
            decision = self.queue.take(decision.until, idle_workers=idle, free_in=free_in)
        return decision

    def _expected_seconds(self, batch: Running, now: float) -> float:
        ends = batch.started + self.cost.seconds(len(batch.members), running=batch.beside)
        return abs(ends - now)  # one that is overdue may well hang: the longer, the longer still

    def _free_in(self, now: float) -> float:
        """Seconds until a worker has done what it runs: of several, the last."""
        return max((self._expected_seconds(batch, now) for batch in self._running), default=0.0)


def policy(tuning: Tuning) -> BatchPolicy:
    return BatchPolicy(tuning.max_batch_size, tuning.max_queue_delay_seconds, MAX_BATCH_BYTES)
