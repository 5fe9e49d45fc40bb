"""The queue of one model version, from the door to the answer.

The async shell around `bouncer`, `batching` and `cost`: it holds the clock,
the timer and the workers. Links and HTTP handlers submit examples and get each
one's outcome by a call; nothing here knows how an outcome travels.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from minion.host.arena import MAX_BATCH_BYTES
from minion.host.batching import Batch, BatchPolicy, BatchQueue, Wait, halve
from minion.host.bouncer import Bouncer, Ending, QueueFull
from minion.host.company import Company
from minion.host.cost import BatchCost
from minion.host.economy import Economy
from minion.host.inputs import Group, Inputs, NotTheModels
from minion.host.keeper import Keeper
from minion.host.promise import Basis, limit_of
from minion.host.savings import Savings
from minion.host.spec import ServiceSpec
from minion.host.workers import Worker
from wire.batches import BatchFailure, BatchResult, Invalid
from wire.errors import Code, WireError
from wire.flows import ANYBODY, Flow
from wire.messages import Answer, Tuning
from wire.reasons import Reason
from wire.tensor import Tensor, made

#: How often a worker may die of one example alone: once by bad luck, and once more.
MAX_CRASHES = 2
#: The loop's timers count in milliseconds: what is nearer than half of one is now.
SHORTEST_WAIT_SECONDS = 0.0005
#: What is learned from batches moves the limit at most this often: a short one costs less.
LEARNED_INTERVAL_SECONDS = 0.02


class Answered(NamedTuple):
    answer: Answer
    batch_size: int
    queue_seconds: float
    predict_seconds: float
    left: int
    """Why the batch left the queue when it did: a `Reason`."""


class Failed(NamedTuple):
    code: str
    detail: str
    invalid_input: bool = False


Outcome = Answered | Failed


class Refused(Exception):
    """The example was not accepted; nothing was kept of it."""

    def __init__(
        self,
        code: Code,
        detail: str,
        retry_after_seconds: float = 0.0,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            numbers: by name, those from which the refusal follows.
        """
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.numbers = numbers or {}


class Example(msgspec.Struct, eq=False):
    """One accepted example. `settle` is called once, unless it is abandoned first."""

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any]
    deadline: float | None
    settle: Callable[[Outcome], None] | None
    group: Group
    flow: Flow
    submitted: float
    crashes: int = 0


class Lane:
    """Admission, batching and the workers of one model version."""

    def __init__(self, spec: ServiceSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inputs = Inputs(spec.tensor_specs)
        self._clock = clock
        self.tuning = spec.tuning
        self.bouncer = Bouncer(1)
        self._seconds_alone = self._seconds_each = 0.0  # as last learned
        self._learns_from = 0.0
        self.basis: Basis
        """What the limit follows from where a promise governs."""
        self.cost = BatchCost()
        self.keeper = Keeper(spec, self._on_room, self._on_end)
        self._running: set[LaneBatch] = set()
        self._company = Company()
        self._company.set_window(spec.max_queue_delay_seconds)
        self._newcomers = 0
        self._queue: BatchQueue[Example] = BatchQueue(
            _policy(spec.tuning), Economy(self.cost, self._company)
        )
        self._timer: asyncio.TimerHandle | None = None
        self.savings = Savings()
        self.departures: Counter[Reason] = Counter()
        """Batches that left the queue, by why they did when they did."""
        self._watch: asyncio.TimerHandle | None = None
        self._watched = math.inf  # the expiry that the watch is for
        self._pumping = False
        self._empty = asyncio.Event()
        self.draining = False
        self._loaded = False
        self.on_change: list[Callable[[], None]] = []
        """Called when readiness, limit or draining changed."""
        self.on_batch: list[Callable[[int, float], None]] = []
        """Called with size and seconds of every batch that ran."""
        self._set_limit()

    @property
    def ready(self) -> bool:
        """Whether it takes examples: a worker is there, or the successor of one is loading."""
        return self._loaded and not self.draining

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def seconds_per_example(self) -> float:
        return self.cost.seconds_per_example(
            max_batch_size=self.tuning.max_batch_size, workers=len(self.keeper.workers)
        )

    @property
    def workers(self) -> int:
        """How many batches may run side by side."""
        return max(len(self.keeper.workers), 1)

    def start(self) -> None:
        self.keeper.start()

    async def drain(self, grace_seconds: float) -> None:
        """Accepts nothing more; returns when all is answered, or the grace is over."""
        self.draining = True
        self._changed()
        if self.bouncer.occupied:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._empty.wait()

    async def stop(self) -> None:
        """Ends the workers."""
        if self._watch is not None:
            self._watch.cancel()
        await self.keeper.stop()

    def tune(self, tuning: Tuning) -> Tuning:
        """Applies new numbers at once; older ones than those in force are ignored."""
        if tuning.revision >= self.tuning.revision:
            self.tuning = tuning
            self._set_limit()
            if tuning.max_queue_delay_seconds != self._queue.policy.max_queue_delay_seconds:
                self._company.set_window(tuning.max_queue_delay_seconds)
            self._queue.policy = _policy(tuning)
            self._changed()
            self._soon()
        return self.tuning

    def submit(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        timeout_seconds: float | None,
        settle: Callable[[Outcome], None],
        flow: Flow = ANYBODY,
    ) -> Example:
        """Takes one example in.

        Args:
            inputs: by name, without a batch axis. The buffers stay the
                caller's and must not change until the outcome.
            timeout_seconds: after which nobody wants it computed any more.
            settle: called once with the outcome, later than this call returns;
                must not raise.
            flow: whose turn it counts against.

        Raises:
            Refused: not ready, draining, full, too late to be answered in time, or the
                inputs are not the model's.
        """
        if self.draining:
            raise Refused(Code.DRAINING, "the minion is shutting down", 1.0)
        if not self._loaded:
            raise Refused(Code.NOT_READY, "the model is still loading", 1.0)
        now = self._clock()
        try:
            group = self._inputs.group(inputs)
            if timeout_seconds is not None:
                self._refuse_if_too_late(timeout_seconds, now)
            self.bouncer.admit()
        except NotTheModels as error:
            raise Refused(Code.INVALID_INPUT, str(error)) from error
        except QueueFull as full:
            raise self._full(full) from full
        deadline = None if timeout_seconds is None else now + timeout_seconds
        example = Example(inputs, parameters, deadline, settle, group, flow, now)
        self._queue.offer(example, now)
        if deadline is not None:
            self._watch_late(now)
        self._newcomers += 1
        self._soon()
        return example

    def abandon(self, example: Example) -> None:
        """Nobody waits for it any more: out of the queue, or its answer is dropped."""
        example.settle = None
        if self._queue.discard(example):
            self._save(Ending.ABANDONED, example)
            self._left(Ending.ABANDONED)

    def _save(self, ending: Ending, example: Example) -> None:
        self.savings.save(ending, example.group.work)

    def _watch_late(self, now: float) -> None:
        """One timer for all who wait: most are on a worker long before, and need none."""
        earliest = self._queue.next_expiry
        if earliest >= self._watched:
            return
        if self._watch is not None:
            self._watch.cancel()
        self._watched = earliest
        self._watch = asyncio.get_running_loop().call_later(max(earliest - now, 0.0), self._expire)

    def _expire(self) -> None:
        """Those whose deadline has passed leave, whatever the workers do."""
        self._watch, self._watched = None, math.inf
        now = self._clock()
        self._tell_late(self._queue.expire(now + SHORTEST_WAIT_SECONDS))
        self._watch_late(now)

    def _tell_late(self, late: Sequence[Example]) -> None:
        for example in late:
            self._save(Ending.EXPIRED, example)
            self._settle(example, Failed(Code.DEADLINE_EXCEEDED.value, "the deadline passed"))

    def _refuse_if_too_late(self, timeout_seconds: float, now: float) -> None:
        """Refuses who will not be answered in time by what was learned.

        An empty lane lets everybody in: what was learned may be wrong, or not be true any
        more, and nobody would ever find out.
        """
        occupied = self.bouncer.occupied
        if not 0 < occupied < self.bouncer.limit:
            return
        if timeout_seconds >= self._seconds_alone + occupied * self._seconds_each:
            return
        seconds = self._seconds_alone + len(self._queue) * self._seconds_each
        if not self.keeper.idle():
            seconds += min((self._expected_seconds(each, now) for each in self._running), default=0)
        if timeout_seconds >= seconds:
            return
        self.bouncer.too_late += 1
        raise Refused(
            Code.DEADLINE_UNMEETABLE,
            f"an answer is expected in {seconds:.3g} s, the deadline is in {timeout_seconds:.3g} s",
            seconds - timeout_seconds,
            {"expected_seconds": seconds, "left_seconds": timeout_seconds},
        )

    def _full(self, full: QueueFull) -> Refused:
        numbers: dict[str, float] = {"occupied": full.occupied, "limit": full.limit}
        if self.tuning.promise_seconds is not None:
            numbers["promise_seconds"] = self.tuning.promise_seconds
        return Refused(Code.QUEUE_FULL, str(full), self._seconds_until_room(), numbers)

    def _learned(self, now: float) -> None:
        """Something was, of what a batch takes."""
        if now >= self._learns_from:
            self._learns_from = now + LEARNED_INTERVAL_SECONDS
            self._seconds_alone = self.cost.seconds_alone()
            self._seconds_each = self.seconds_per_example
            self._set_limit()

    def _set_limit(self) -> None:
        """The limit that is tuned, or that follows from the promise."""
        promise, limit = self.tuning.promise_seconds, self.tuning.queue_limit
        self.basis = self.cost.basis(
            max_batch_size=self.tuning.max_batch_size,
            workers=self.workers,
            delay_seconds=self.tuning.max_queue_delay_seconds,
        )
        if limit is None:
            assert promise is not None
            limit = limit_of(promise, self.basis)
        if limit != self.bouncer.limit:
            self.bouncer.limit = limit
            self._changed()

    def _seconds_until_room(self) -> float:
        return self.cost.seconds_until_room(
            occupied=self.bouncer.occupied,
            limit=self.bouncer.limit,
            max_batch_size=self.tuning.max_batch_size,
            workers=len(self.keeper.workers),
        )

    def _soon(self) -> None:
        """Pumps once after everything that has arrived by now was taken in."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _on_room(self) -> None:
        if not self._loaded:
            self._loaded = True
            self._set_limit()
            self._changed()
        self._soon()

    def _on_end(self, worker: Worker) -> None:
        """A worker that had loaded is followed by another, which the queue waits for.

        One that could not load leaves nobody to wait for.
        """
        if worker.loaded is None and not self.keeper.ready():
            self._loaded = False
            for example in self._queue.clear():
                self._settle(example, Failed(Code.NOT_READY.value, "the model cannot be loaded"))
            self._changed()

    def _pump(self) -> None:
        """Gives workers what is due, and sets the timer for what is not yet."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        if self._newcomers:
            self._company.arrived(self._newcomers, now)
            self._newcomers = 0
        if self._serve_idle(now):
            self._serve_busy(now)

    def _serve_idle(self, now: float) -> bool:
        """Whether no worker is idle any more."""
        while idle := self.keeper.idle():
            decision = self._decide(now, len(idle))
            if isinstance(decision, Wait):
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(decision.until - now, self._pump)
            if not isinstance(decision, Batch):
                return False
            self._dispatch(idle[0], decision)
        return True

    def _decide(self, now: float, idle: int) -> Batch[Example] | Wait | None:
        free_in = [self._expected_seconds(batch, now) for batch in self._running]
        decision = self._queue.take(now, idle_workers=idle, free_in=free_in)
        if isinstance(decision, Wait) and decision.until - now < SHORTEST_WAIT_SECONDS:
            decision = self._queue.take(decision.until, idle_workers=idle, free_in=free_in)
        return decision

    def _expected_seconds(self, batch: LaneBatch, now: float) -> float:
        ends = batch.started + self.cost.seconds(len(batch.members), running=batch.beside)
        return abs(ends - now)  # one that is overdue may well hang: the longer, the longer still

    def _serve_busy(self, now: float) -> None:
        """Hands out next batches, so that no worker waits for one between two."""
        takers = [worker for worker in self.keeper.workers if worker.takes_next]
        while takers:
            batch = self._queue.take_ahead(
                now,
                takers=len(takers),
                busy_workers=len(self._running),
                begins_in=self._free_in(now),
            )
            if batch is None:
                return
            self._dispatch(takers[0], batch)
            takers = [worker for worker in takers if worker.takes_next]

    def _free_in(self, now: float) -> float:
        """Seconds until a worker has done what it runs: of several, the last."""
        return max((self._expected_seconds(batch, now) for batch in self._running), default=0.0)

    def _dispatch(self, worker: Worker, batch: Batch[Example]) -> None:
        self._tell_late(batch.late)
        if batch.members:
            self.departures[batch.reason] += 1
            worker.run(LaneBatch(self, batch.members, batch.reason))

    def _settle(self, example: Example, outcome: Outcome) -> None:
        settle, example.settle = example.settle, None
        if settle is None:
            self._left(Ending.ABANDONED)
        else:
            self._left(_ending(outcome))
            settle(outcome)

    def _settle_all(self, members: Sequence[Example], outcomes: Sequence[Outcome]) -> None:
        told = [
            (example.settle, outcome)
            for example, outcome in zip(members, outcomes, strict=True)
            if example.settle is not None
        ]
        completed = [type(outcome) for _, outcome in told].count(Answered)
        for ending, count in (
            (Ending.COMPLETED, completed),
            (Ending.FAILED, len(told) - completed),
            (Ending.ABANDONED, len(members) - len(told)),
        ):
            if count:
                self._left(ending, count)
        self._company.answered(self._clock(), left=self.bouncer.occupied)
        for settle, outcome in told:
            settle(outcome)

    def _left(self, ending: Ending, count: int = 1) -> None:
        self.bouncer.leave(ending, count)
        if self.draining and not self.bouncer.occupied:
            self._empty.set()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    # What a batch reports.

    def batch_begun(self, batch: LaneBatch) -> None:
        batch.started = self._clock()
        self._running.add(batch)
        together = len(self._running)
        for each in self._running:
            each.beside = max(each.beside, together)

    def batch_done(self, batch: LaneBatch, result: BatchResult, worker: Worker) -> None:
        members = batch.members
        size = len(members)
        if len(result.answers) != size:
            raise WireError(f"{len(result.answers)} answers for a batch of {size}")
        outcomes = _outcomes(batch, result, worker)
        self._running.discard(batch)
        now = self._clock()
        self.cost.observe(size, now - batch.started, running=batch.beside)
        self.savings.ran(sum([example.group.work for example in members]), now - batch.started)
        self._learned(now)
        for listener in self.on_batch:
            listener(size, result.seconds)
        self._settle_all(members, outcomes)

    def batch_failed(self, batch: LaneBatch, failure: BatchFailure) -> None:
        self._running.discard(batch)
        if len(batch.members) == 1:
            self._settle(batch.members[0], Failed(failure.code, failure.detail))
        else:
            self._put_back(halve(batch.members))

    def batch_lost(self, batch: LaneBatch, *, timed_out: bool) -> None:
        """The worker died while it ran this. Of whom, halving tells: nobody else fails."""
        self._running.discard(batch)
        if len(batch.members) > 1:
            self._put_back(halve(batch.members))
            return
        [example] = batch.members
        example.crashes += 1
        if timed_out:
            self._settle(example, Failed(Code.PREDICT_TIMEOUT.value, "the model took too long"))
        elif example.crashes == MAX_CRASHES:
            detail = "the worker ended while it ran this"
            self._settle(example, Failed(Code.WORKER_CRASHED.value, detail))
        else:
            self._put_back([batch.members])

    def batch_returned(self, batch: LaneBatch) -> None:
        """The worker died before it began this: nobody here had a part in it."""
        self._put_back([batch.members])

    def _put_back(self, batches: Sequence[Sequence[Example]]) -> None:
        now = self._clock()
        for batch in batches:
            waiting = [example for example in batch if example.settle is not None]
            for example in batch:
                if example.settle is None:
                    self._save(Ending.ABANDONED, example)
                    self._settle(example, Failed(Code.CANCELLED.value, ""))
            if waiting:
                self._queue.put_back(waiting)
                self._watch_late(now)
        self._soon()


class LaneBatch:
    """A batch on a worker; see `workers.RunningBatch`."""

    __slots__ = ("_lane", "beside", "members", "reason", "started")

    def __init__(self, lane: Lane, members: list[Example], reason: Reason) -> None:
        self._lane = lane
        self.members = members
        self.reason = reason
        self.started = 0.0
        self.beside = 0
        """The most batches that ran at once while this one did, itself included."""

    @property
    def inputs(self) -> Sequence[Mapping[str, Tensor]]:
        return [example.inputs for example in self.members]

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        return [example.parameters for example in self.members]

    def begun(self) -> None:
        self._lane.batch_begun(self)

    def done(self, result: BatchResult, worker: Worker) -> None:
        self._lane.batch_done(self, result, worker)

    def failed(self, failure: BatchFailure) -> None:
        self._lane.batch_failed(self, failure)

    def lost(self, *, timed_out: bool) -> None:
        self._lane.batch_lost(self, timed_out=timed_out)

    def returned(self) -> None:
        self._lane.batch_returned(self)


def _policy(tuning: Tuning) -> BatchPolicy:
    return BatchPolicy(tuning.max_batch_size, tuning.max_queue_delay_seconds, MAX_BATCH_BYTES)


def _ending(outcome: Outcome) -> Ending:
    if isinstance(outcome, Answered):
        return Ending.COMPLETED
    if outcome.code == Code.DEADLINE_EXCEEDED.value:
        return Ending.EXPIRED
    return Ending.FAILED


def _outcomes(batch: LaneBatch, result: BatchResult, worker: Worker) -> list[Outcome]:
    size, started, seconds = len(batch.members), batch.started, result.seconds
    reason = batch.reason
    outcomes: list[Outcome] = []
    for example, entry in zip(batch.members, result.answers, strict=True):
        if isinstance(entry, Invalid):
            outcomes.append(Failed(*entry))
            continue
        tensors = [worker.tensor(ref, result) for ref in entry.tensors] if entry.tensors else ()
        answer = made(Answer, (entry.packed, tensors))
        told = (answer, size, started - example.submitted, seconds, reason)
        outcomes.append(made(Answered, told))
    return outcomes
