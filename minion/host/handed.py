"""What one worker has been handed: the batch that it runs, and the next one, which waits.

The next one lies in the worker's socket and in the memory that both sides see, and has
not begun: should the process end, it is innocent. Here is which answer belongs to which
batch, and where each one's inputs lie. Knows no process and no socket: `workers` sends,
receives and ends, and tells the batches what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from minion.host.poison import Loss
from wire.area import Area
from wire.batches import BatchFailure, BatchResult, Run, TensorRef
from wire.errors import WireError
from wire.tensor import Tensor


class Outputs(Protocol):
    """Where a worker has left what it computed."""

    def tensor(self, ref: TensorRef, result: BatchResult) -> Tensor:
        """A copy of one output of the batch that just ended.

        Raises:
            WireError: it lies outside the arena or the frame.
        """


class RunningBatch(Protocol):
    """A batch as the lane knows it. One of the callbacks after `begun` is called, once."""

    @property
    def inputs(self) -> Sequence[Mapping[str, Tensor]]:
        """Per example, by name; dtypes and shapes equal across examples."""

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def suspected(self) -> bool:
        """Whether a process has ended before while it ran one of these."""

    def begun(self) -> None:
        """The process runs it from now on. Never called for one that was only waiting."""

    def done(self, result: BatchResult, outputs: Outputs) -> None:
        """Raises WireError, and has then answered nobody, if the result does not fit the batch."""

    def failed(self, failure: BatchFailure) -> None: ...

    def lost(self, loss: Loss) -> None:
        """The process ended while it ran this."""

    def returned(self) -> None:
        """The process ended before it began this."""


class Handed:
    """The batches of one worker, two at most."""

    __slots__ = ("_running", "_sent", "_waiting")

    def __init__(self) -> None:
        self._running: RunningBatch | None = None
        self._waiting: RunningBatch | None = None
        self._sent = 0

    @property
    def running(self) -> bool:
        return self._running is not None

    @property
    def waiting(self) -> bool:
        """Whether there is one that has not begun."""
        return self._waiting is not None

    def add(self, batch: RunningBatch, areas: Sequence[Area]) -> Run:
        """One more, which waits until it begins.

        Args:
            areas: of the worker's memory, used by turns; each has room for a batch.

        Returns:
            What the worker is to be told; the inputs are in its memory already.
        """
        assert self._waiting is None
        self._sent += 1
        inputs = batch.inputs
        parameters = batch.parameters if any(batch.parameters) else ()
        refs = _stacked(inputs, areas[self._sent % len(areas)])
        self._waiting = batch
        return Run(self._sent, len(inputs), refs, parameters)

    def begin(self) -> RunningBatch | None:
        """The one that waited runs from now on."""
        self._running, self._waiting = self._waiting, None
        return self._running

    def finish(self, id: int) -> RunningBatch:
        """The one that has been answered, by its number. Raises WireError: it does not run."""
        batch = self._running
        if batch is None or id != self._sent - self.waiting:
            raise WireError(f"an answer to batch {id}, which is not running")
        self._running = None
        return batch

    def resume(self, batch: RunningBatch) -> None:
        """What was taken for its answer was none: it runs on."""
        self._running = batch

    def lose(self) -> RunningBatch | None:
        """The one that ran when the process ended."""
        batch, self._running = self._running, None
        return batch

    def take_back(self) -> RunningBatch | None:
        """The one that had not begun when the process ended."""
        batch, self._waiting = self._waiting, None
        return batch


def _stacked(examples: Sequence[Mapping[str, Tensor]], area: Area) -> dict[str, TensorRef]:
    area.reset()
    refs = {}
    for name in examples[0]:
        ref = area.stack([example[name] for example in examples])
        assert ref is not None, "the batch policy keeps batches below the arena's size"
        refs[name] = ref
    return refs
