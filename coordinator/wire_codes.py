"""What a code from another process stands for in our tree of errors.

Between processes travel a code and a text, never an exception. `link` asks here
what to tell whoever waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.errors import (
    CODES,
    DeadlineExceeded,
    DeadlineUnmeetable,
    DemitasseError,
    Draining,
    Internal,
    InvalidInput,
    InvalidOutput,
    ModelError,
    NotServing,
    OutOfMemory,
    PredictTimeout,
    QueueFull,
    WorkerCrashed,
)
from wire.errors import Code
from wire.quoting import quoted

_FROM_WIRE: dict[str, type[DemitasseError]] = {
    Code.QUEUE_FULL.value: QueueFull,
    Code.DEADLINE_UNMEETABLE.value: DeadlineUnmeetable,
    Code.DRAINING.value: Draining,
    Code.NOT_READY.value: NotServing,
    Code.INVALID_INPUT.value: InvalidInput,
    Code.MODEL_ERROR.value: ModelError,
    Code.INVALID_OUTPUT.value: InvalidOutput,
    Code.WORKER_CRASHED.value: WorkerCrashed,
    Code.PREDICT_TIMEOUT.value: PredictTimeout,
    Code.OUT_OF_MEMORY.value: OutOfMemory,
    Code.DEADLINE_EXCEEDED.value: DeadlineExceeded,
    Code.CANCELLED.value: NotServing,  # nobody waits for it any more
}


def from_wire(
    code: str,
    detail: str,
    retry_after: float | None = None,
    numbers: Mapping[str, float] | None = None,
    *,
    invalid_input: bool = False,
) -> DemitasseError:
    """The error that a code from another process stands for.

    Args:
        code: one of `wire.errors.Code`, or the model's own word.
        numbers: those from which a refusal follows, by name.
        invalid_input: the model called its input invalid, so that `code` may be any word; one
            of ours does not stand for what it says then. The image tier's `image-*` codes
            are known without it.
    """
    if invalid_input:
        return InvalidInput(detail, code=None if code in CODES else code)
    kind = _FROM_WIRE.get(code)
    if kind is not None:
        return kind(detail, retry_after=retry_after, members=numbers)
    if code.startswith("image-"):
        return InvalidInput(detail, code=code)
    return Internal(f"a minion answered with the unknown code {quoted(code)}")
