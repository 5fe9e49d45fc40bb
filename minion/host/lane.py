"""The queue of one model version, from the door to the answer.

The async shell around `bouncer`, `batching` and `cost`: it holds the clock,
the timer and the workers. Links and HTTP handlers submit examples and get each
one's outcome by a call; nothing here knows how an outcome travels.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from minion.host.arena import MAX_BATCH_BYTES
from minion.host.batching import Batch, BatchPolicy, BatchQueue, Wait, halve
from minion.host.bouncer import Bouncer, Ending, QueueFull, Ticket
from minion.host.cost import BatchCost
from minion.host.spec import ServiceSpec
from minion.host.workers import Keeper, Worker
from wire.area import ALIGNMENT
from wire.errors import Code, WireError
from wire.messages import Answer, BatchFailure, BatchResult, Invalid, Tuning
from wire.tensor import Tensor

#: How often a worker may die of one example alone: once by bad luck, and once more.
MAX_CRASHES = 2


class Answered(NamedTuple):
    answer: Answer
    batch_size: int
    queue_seconds: float
    predict_seconds: float


class Failed(NamedTuple):
    code: str
    detail: str
    invalid_input: bool = False


Outcome = Answered | Failed


class Refused(Exception):
    """The example was not accepted; nothing was kept of it."""

    def __init__(self, code: Code, detail: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class Example:
    """One accepted example. `settle` is called once, unless it is abandoned first."""

    __slots__ = (
        "crashes",
        "deadline",
        "group",
        "inputs",
        "parameters",
        "settle",
        "size_bytes",
        "started",
        "submitted",
        "ticket",
    )

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float | None,
        settle: Callable[[Outcome], None],
        ticket: Ticket,
        now: float,
    ) -> None:
        self.inputs = inputs
        self.parameters = parameters
        self.deadline = deadline
        self.settle: Callable[[Outcome], None] | None = settle
        self.ticket = ticket
        self.submitted = now
        self.started = now
        self.crashes = 0
        self.group = tuple((name, tensor.shape) for name, tensor in inputs.items())
        self.size_bytes = sum(len(each.data) + ALIGNMENT for each in inputs.values())


class Lane:
    """Admission, batching and the workers of one model version."""

    def __init__(self, spec: ServiceSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._specs = spec.tensor_specs
        self._names = set(self._specs)
        self._clock = clock
        self.tuning = spec.tuning
        self.bouncer = Bouncer(spec.queue_limit)
        self.cost = BatchCost()
        self.keeper = Keeper(spec, self._on_idle, self._on_end)
        self._queue: BatchQueue[Example] = BatchQueue(_policy(spec.tuning))
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._empty = asyncio.Event()
        self.draining = False
        self._loaded = False
        self.on_change: list[Callable[[], None]] = []
        """Called when readiness, limit or draining changed."""
        self.on_batch: list[Callable[[int, float], None]] = []
        """Called with size and seconds of every batch that ran."""

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
        await self.keeper.stop()

    def tune(self, tuning: Tuning) -> Tuning:
        """Applies new numbers at once; older ones than those in force are ignored."""
        if tuning.revision >= self.tuning.revision:
            self.tuning = tuning
            self.bouncer.limit = tuning.queue_limit
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
    ) -> Example:
        """Takes one example in.

        Args:
            inputs: by name, without a batch axis. The buffers stay the
                caller's and must not change until the outcome.
            timeout_seconds: after which nobody wants it computed any more.
            settle: called once with the outcome, later than this call returns;
                must not raise.

        Raises:
            Refused: not ready, draining, full, or the inputs are not the model's.
        """
        if self.draining:
            raise Refused(Code.DRAINING, "the minion is shutting down", 1.0)
        if not self._loaded:
            raise Refused(Code.NOT_READY, "the model is still loading", 1.0)
        self._check(inputs)
        now = self._clock()
        try:
            ticket = self.bouncer.admit()
        except QueueFull as full:
            raise Refused(Code.QUEUE_FULL, str(full), self._seconds_until_room()) from full
        deadline = None if timeout_seconds is None else now + timeout_seconds
        example = Example(inputs, parameters, deadline, settle, ticket, now)
        self._queue.offer(example, now)
        self._soon()
        return example

    def abandon(self, example: Example) -> None:
        """Nobody waits for it any more: out of the queue, or its answer is dropped."""
        example.settle = None
        if self._queue.discard(example):
            self._end(example, Ending.ABANDONED)

    def _seconds_until_room(self) -> float:
        return self.cost.seconds_until_room(
            occupied=self.bouncer.occupied,
            limit=self.bouncer.limit,
            max_batch_size=self.tuning.max_batch_size,
            workers=len(self.keeper.workers),
        )

    def _check(self, inputs: Mapping[str, Tensor]) -> None:
        if inputs.keys() != self._names:
            raise Refused(
                Code.INVALID_INPUT, f"inputs are {sorted(inputs)}, expected {sorted(self._names)}"
            )
        total = 0
        for name, tensor in inputs.items():
            reason = self._specs[name].mismatch(tensor.dtype, tensor.shape)
            if reason is not None:
                raise Refused(Code.INVALID_INPUT, f"input {name!r}: {reason}")
            total += len(tensor.data) + ALIGNMENT
        if total > MAX_BATCH_BYTES:
            raise Refused(
                Code.INVALID_INPUT, f"{total} bytes of input, at most {MAX_BATCH_BYTES} fit"
            )

    def _soon(self) -> None:
        """Pumps once after everything that has arrived by now was taken in."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _on_idle(self) -> None:
        if not self._loaded:
            self._loaded = True
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
        """Gives idle workers what is due, and sets the timer for what is not yet."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while idle := self.keeper.idle():
            worker = idle[0]
            now = self._clock()
            decision = self._queue.take(now, idle_workers=len(idle))
            if isinstance(decision, Wait):
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(decision.until - now, self._pump)
            if not isinstance(decision, Batch):
                return
            for example in decision.late:
                self._settle(example, Failed(Code.DEADLINE_EXCEEDED.value, "the deadline passed"))
            if decision.members:
                worker.run(LaneBatch(self, decision.members, now))

    def _settle(self, example: Example, outcome: Outcome) -> None:
        settle, example.settle = example.settle, None
        if settle is None:
            self._end(example, Ending.ABANDONED)
            return
        self._end(example, _ending(outcome))
        settle(outcome)

    def _end(self, example: Example, ending: Ending) -> None:
        example.ticket.end(ending)
        if self.draining and not self.bouncer.occupied:
            self._empty.set()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    # What a batch reports.

    def batch_done(self, members: Sequence[Example], result: BatchResult, worker: Worker) -> None:
        size = len(members)
        if len(result.answers) != size:
            raise WireError(f"{len(result.answers)} answers for a batch of {size}")
        outcomes = [
            _outcome(example, result, index, worker) for index, example in enumerate(members)
        ]
        self.cost.observe(size, result.seconds)
        for listener in self.on_batch:
            listener(size, result.seconds)
        for example, outcome in zip(members, outcomes, strict=True):
            self._settle(example, outcome)

    def batch_failed(self, members: Sequence[Example], failure: BatchFailure) -> None:
        if len(members) == 1:
            self._settle(members[0], Failed(failure.code, failure.detail))
        else:
            self._put_back(halve(list(members)))

    def batch_lost(self, members: Sequence[Example], *, timed_out: bool) -> None:
        """The worker died while it ran this. Of whom, halving tells: nobody else fails."""
        if len(members) > 1:
            self._put_back(halve(list(members)))
            return
        [example] = members
        example.crashes += 1
        if timed_out:
            self._settle(example, Failed(Code.PREDICT_TIMEOUT.value, "the model took too long"))
        elif example.crashes == MAX_CRASHES:
            detail = "the worker ended while it ran this"
            self._settle(example, Failed(Code.WORKER_CRASHED.value, detail))
        else:
            self._put_back([members])

    def _put_back(self, batches: Sequence[Sequence[Example]]) -> None:
        for batch in batches:
            waiting = [example for example in batch if example.settle is not None]
            for example in batch:
                if example.settle is None:
                    self._settle(example, Failed(Code.CANCELLED.value, ""))
            if waiting:
                self._queue.put_back(waiting)
        self._soon()


class LaneBatch:
    """A batch on a worker; see `workers.RunningBatch`."""

    def __init__(self, lane: Lane, members: list[Example], now: float) -> None:
        self._lane = lane
        self._members = members
        for example in members:
            example.started = now

    @property
    def inputs(self) -> Sequence[Mapping[str, Tensor]]:
        return [example.inputs for example in self._members]

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        return [example.parameters for example in self._members]

    def done(self, result: BatchResult, worker: Worker) -> None:
        self._lane.batch_done(self._members, result, worker)

    def failed(self, failure: BatchFailure) -> None:
        self._lane.batch_failed(self._members, failure)

    def lost(self, *, timed_out: bool) -> None:
        self._lane.batch_lost(self._members, timed_out=timed_out)


def _policy(tuning: Tuning) -> BatchPolicy:
    return BatchPolicy(tuning.max_batch_size, tuning.max_queue_delay_seconds, MAX_BATCH_BYTES)


def _ending(outcome: Outcome) -> Ending:
    if isinstance(outcome, Answered):
        return Ending.COMPLETED
    if outcome.code == Code.DEADLINE_EXCEEDED.value:
        return Ending.EXPIRED
    return Ending.FAILED


def _outcome(example: Example, result: BatchResult, index: int, worker: Worker) -> Outcome:
    entry = result.answers[index]
    if isinstance(entry, Invalid):
        return Failed(entry.code, entry.detail, entry.invalid_input)
    tensors = [worker.tensor(ref, result) for ref in entry.tensors]
    queued = example.started - example.submitted
    return Answered(Answer(entry.packed, tensors), len(result.answers), queued, result.seconds)
