"""The queue of one model version, from the door to the answer.

The async shell around `bouncer` and `dispatch`: it holds the clock, the timer
and the workers. Links and HTTP handlers submit examples and get each
one's outcome by a call; nothing here knows how an outcome travels.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minion.host.admission import Admission, TooLate
from minion.host.batch import Batch, Wait
from minion.host.bouncer import Ending, QueueFull
from minion.host.dispatch import SHORTEST_WAIT_SECONDS, Dispatcher, Ran
from minion.host.examples import Answered, Example, Failed, Outcome, Refused
from minion.host.handed import Outputs
from minion.host.inputs import Inputs, NotTheModels
from minion.host.keeper import LOADING_SECONDS, Keeper
from minion.host.lane_batch import LaneBatch, outcomes_of
from minion.host.poison import Loss
from minion.host.promise import Basis
from minion.host.savings import Savings
from minion.host.spec import ServiceSpec
from minion.host.trial import Judgement, Trial
from minion.host.workers import Worker
from wire.batches import BatchFailure, BatchResult
from wire.errors import Code, WireError
from wire.flows import ANYBODY, Flow
from wire.reasons import Reason
from wire.tensor import Tensor
from wire.tuning import Tuning


class Lane:
    """Admission, batching and the workers of one model version."""

    def __init__(self, spec: ServiceSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inputs = Inputs(spec.tensor_specs)
        self._clock = clock
        self.tuning = spec.tuning
        self._dispatcher: Dispatcher[Example] = Dispatcher(spec.tuning)
        self._queue, self.cost = self._dispatcher.queue, self._dispatcher.cost
        self._admission = Admission(spec.tuning, self._dispatcher, spec.workers)
        self.bouncer = self._admission.bouncer
        self.keeper = Keeper(spec, self._on_room, self._on_end)
        self._timer: asyncio.TimerHandle | None = None
        self.savings = Savings()
        self.trial = Trial(pure=spec.pure)
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
        self.on_room: list[Callable[[], None]] = []
        """Called when places were taken or are free again, perhaps before their callers know."""

    @property
    def ready(self) -> bool:
        """Whether it takes examples: a worker is there, or the successor of one is loading."""
        return self._loaded and not self.draining

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def ran(self) -> Sequence[Ran]:
        """The last batches that were answered, oldest first."""
        return self._dispatcher.ran

    @property
    def seconds_per_example(self) -> float:
        return self._admission.seconds_per_example

    @property
    def workers(self) -> int:
        """How many batches may run side by side."""
        return self._admission.workers

    @property
    def basis(self) -> Basis:
        """What the limit follows from where a promise governs."""
        return self._admission.basis

    @property
    def stands(self) -> bool:
        """Whether the limit is lower than the promise allows, since the queue stands."""
        return self._admission.stands

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
            self._apply()
        return self.tuning

    @property
    def largest_batch(self) -> int:
        """The one that is tuned, or less where memory ran out."""
        return min(self.tuning.max_batch_size, self.trial.headroom.limit)

    @property
    def lacks_memory(self) -> bool:
        """Whether batches are smaller than they are tuned to be, since memory ran out."""
        return self.largest_batch < self.tuning.max_batch_size

    def _apply(self) -> None:
        tuning = self.tuning._replace(max_batch_size=self.largest_batch)
        self._admission.tune(tuning)
        self._dispatcher.tune(tuning)
        self._changed()
        self._soon()

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
            Refused: not ready, draining, full, too late to be answered in time, the inputs
                are not the model's, or known to end its processes.
        """
        if self.draining:
            raise Refused(Code.DRAINING, "the minion is shutting down", 1.0)
        if not self._loaded:
            raise self._not_ready()
        now = self._clock()
        try:
            group = self._inputs.group(inputs)
            if self.trial.killers:
                self.trial.refuse_if_known(inputs, parameters, now)
            self._admission.admit(flow, timeout_seconds, now, idle=self.keeper.idle)
        except NotTheModels as error:
            raise Refused(Code.INVALID_INPUT, str(error)) from error
        except QueueFull as full:
            raise self._full(full) from full
        except TooLate as late:
            raise _too_late(late) from late
        deadline = None if timeout_seconds is None else now + timeout_seconds
        example = Example(inputs, parameters, deadline, settle, group, flow, now)
        self._dispatcher.offer(example, now)
        if deadline is not None:
            self._watch_late(now)
        self._soon()
        self._occupied_otherwise()
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

    def _full(self, full: QueueFull) -> Refused:
        numbers: dict[str, float] = {"occupied": full.occupied, "limit": full.limit}
        if self.tuning.promise_seconds is not None:
            numbers["promise_seconds"] = self.tuning.promise_seconds
        seconds = self._admission.seconds_until_room()
        return Refused(Code.QUEUE_FULL, str(full), seconds, numbers)

    def _not_ready(self) -> Refused:
        seconds = self.keeper.seconds_until_try
        if seconds is not None:
            return Refused(Code.NOT_READY, "the model fails, and is tried now and then", seconds)
        return Refused(Code.NOT_READY, "the model is still loading", LOADING_SECONDS)

    def _soon(self) -> None:
        """Pumps once after everything that has arrived by now was taken in."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _on_room(self) -> None:
        if not self._loaded:
            self._loaded = True
            self._changed()
        self._soon()

    def _on_end(self, worker: Worker) -> None:
        """A worker that had loaded is followed by another, which the queue waits for.

        One that could not load leaves nobody to wait for, nor does one that was one too many.
        """
        if (worker.loaded is None or self.keeper.failed) and not self.keeper.ready():
            self._loaded = False
            reason = "the model fails" if worker.loaded else "the model cannot be loaded"
            for example in self._queue.clear():
                self._settle(example, Failed(Code.NOT_READY.value, reason))
            self._changed()

    def _pump(self) -> None:
        """Gives workers what is due, and sets the timer for what is not yet."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        self._dispatcher.look(now)
        while True:
            idle = self.keeper.idle()
            to = idle or [worker for worker in self.keeper.workers if worker.takes_next]
            decision = self._dispatcher.decide(now, idle=len(idle), takers=len(to))
            if isinstance(decision, Wait):
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(decision.until - now, self._pump)
            if not isinstance(decision, Batch):
                return
            self._dispatch(to[0], decision)

    def _dispatch(self, worker: Worker, batch: Batch[Example]) -> None:
        self._tell_late(batch.late)
        members = self._without_known(batch.members) if self.trial.killers else batch.members
        if members:
            self.departures[batch.reason] += 1
            worker.run(LaneBatch(self, members, batch.reason))

    def _without_known(self, members: list[Example]) -> list[Example]:
        now, innocent = self._clock(), []
        for example in members:
            told = self.trial.known(example, now)
            if told is None:
                innocent.append(example)
            else:
                self._settle(example, told)
        return innocent

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
        self._dispatcher.answered(self._clock(), left=self.bouncer.occupied)
        for settle, outcome in told:
            settle(outcome)

    def _left(self, ending: Ending, count: int = 1) -> None:
        self.bouncer.leave(ending, count)
        if self._admission.stands and self._admission.left(self._clock()):
            self._changed()
        if self.draining and not self.bouncer.occupied:
            self._empty.set()
        self._occupied_otherwise()

    def _occupied_otherwise(self) -> None:
        for listener in self.on_room:
            listener()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    # What a batch reports.

    def batch_begun(self, batch: LaneBatch) -> None:
        self._dispatcher.begun(batch, self._clock())

    def batch_done(self, batch: LaneBatch, result: BatchResult, outputs: Outputs) -> None:
        members = batch.members
        size = len(members)
        if len(result.answers) != size:
            raise WireError(f"{len(result.answers)} answers for a batch of {size}")
        outcomes = outcomes_of(batch, result, outputs)
        now = self._clock()
        seconds = self._dispatcher.done(batch, now)
        self.savings.ran(sum([example.group.work for example in members]), seconds)
        if self._admission.learned(now):
            self._changed()
        for listener in self.on_batch:
            listener(size, result.seconds)
        self._settle_all(members, outcomes)

    def batch_failed(self, batch: LaneBatch, failure: BatchFailure) -> None:
        self._dispatcher.ended(batch)
        self._judged(batch, self.trial.failed(batch.members, failure, self._clock()))
        if failure.code == Code.OUT_OF_MEMORY:
            self._apply()

    def batch_lost(self, batch: LaneBatch, loss: Loss) -> None:
        """The worker ended while it ran this. Of whom, smaller batches tell."""
        self._dispatcher.ended(batch)
        self._judged(batch, self.trial.lost(batch.members, loss, self._clock()))

    def _judged(self, batch: LaneBatch, judgement: Judgement) -> None:
        if isinstance(judgement, Failed):
            for example in batch.members:
                self._settle(example, judgement)
        else:
            self._put_back(judgement)

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


def _too_late(late: TooLate) -> Refused:
    expected, left = late.expected_seconds, late.left_seconds
    numbers = {"expected_seconds": expected, "left_seconds": left}
    return Refused(Code.DEADLINE_UNMEETABLE, str(late), expected - left, numbers)


def _ending(outcome: Outcome) -> Ending:
    if isinstance(outcome, Answered):
        return Ending.COMPLETED
    if outcome.code == Code.DEADLINE_EXCEEDED.value:
        return Ending.EXPIRED
    return Ending.FAILED
