"""A lane's batch on a worker: what is handed over, and how the result parts again.

Between `lane`, which puts examples into a batch, and `workers`, which run one
and know it as a `handed.RunningBatch`. Decides nothing: whatever becomes of the batch
is told to the lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from minion.host.examples import Answered, Example, Failed, Outcome
from minion.host.handed import Outputs
from minion.host.poison import Loss
from wire.answers import Answer
from wire.batches import BatchFailure, BatchResult, Invalid
from wire.errors import Code
from wire.reasons import Reason
from wire.tensor import Tensor, made

_OURS = {each.value for each in Code}


class Origin(Protocol):
    """Where a batch comes from: the lane, which is told what becomes of it."""

    def batch_begun(self, batch: LaneBatch) -> None: ...

    def batch_done(self, batch: LaneBatch, result: BatchResult, outputs: Outputs) -> None: ...

    def batch_failed(self, batch: LaneBatch, failure: BatchFailure) -> None: ...

    def batch_lost(self, batch: LaneBatch, loss: Loss) -> None: ...

    def batch_returned(self, batch: LaneBatch) -> None: ...


class LaneBatch:
    """A batch on a worker; see `handed.RunningBatch`."""

    __slots__ = ("_lane", "beside", "members", "reason", "started")

    def __init__(self, lane: Origin, members: list[Example], reason: Reason) -> None:
        self._lane = lane
        self.members = members
        self.reason = reason
        self.started = 0.0
        self.beside = 0

    @property
    def inputs(self) -> Sequence[Mapping[str, Tensor]]:
        return [example.inputs for example in self.members]

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        return [example.parameters for example in self.members]

    @property
    def suspected(self) -> bool:
        return any(example.suspected for example in self.members)

    def begun(self) -> None:
        self._lane.batch_begun(self)

    def done(self, result: BatchResult, outputs: Outputs) -> None:
        self._lane.batch_done(self, result, outputs)

    def failed(self, failure: BatchFailure) -> None:
        self._lane.batch_failed(self, failure)

    def lost(self, loss: Loss) -> None:
        self._lane.batch_lost(self, loss)

    def returned(self) -> None:
        self._lane.batch_returned(self)


def outcomes_of(batch: LaneBatch, result: BatchResult, outputs: Outputs) -> list[Outcome]:
    """What became of each member, in order. There are as many answers as members.

    Raises:
        WireError: an output lies outside the arena or the frame.
    """
    size, started, seconds = len(batch.members), batch.started, result.seconds
    reason = batch.reason
    outcomes: list[Outcome] = []
    for example, entry in zip(batch.members, result.answers, strict=True):
        if isinstance(entry, Invalid):
            outcomes.append(_failed(entry))
            continue
        tensors = [outputs.tensor(ref, result) for ref in entry.tensors] if entry.tensors else ()
        answer = made(Answer, (entry.packed, tensors))
        told = (answer, size, started - example.submitted, seconds, reason)
        outcomes.append(made(Answered, told))
    return outcomes


def _failed(entry: Invalid) -> Failed:
    """As the worker says it; but a model that calls its input invalid does not speak for us."""
    if entry.invalid_input and entry.code in _OURS:
        return Failed(Code.INVALID_INPUT.value, entry.detail, True)
    return Failed(*entry)
