"""A batch: what must be known of its members, how large it may get, and the decision for one.

In these words `batching` and `dispatch` decide, and `lane` and `simulation` do it.
Values and protocols; what is decided when is not said here.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, TypeVar

from wire.flows import Flow
from wire.reasons import Reason


class Group(Protocol):
    """Examples of one group may share a batch: their names, dtypes and shapes are equal."""

    @property
    def size_bytes(self) -> int:
        """What each of them takes of a batch's memory."""

    @property
    def work(self) -> float:
        """What each of them costs the device, in a unit of the lane's own."""

    def __hash__(self) -> int: ...


class Queued(Protocol):
    """What the queue needs to know of an example."""

    @property
    def group(self) -> Group: ...

    @property
    def deadline(self) -> float | None: ...

    @property
    def flow(self) -> Flow: ...


E = TypeVar("E", bound=Queued)
T = TypeVar("T")


class BatchPolicy(NamedTuple):
    max_batch_size: int
    max_queue_delay_seconds: float
    max_batch_bytes: int = 2**63
    """What one batch may take of the shared memory. A single example always goes."""


class Batch(NamedTuple, Generic[E]):
    """These, now. `late` were found expired on the way and are to be told so."""

    members: list[E]
    late: list[E]
    reason: Reason = Reason.FULL
    """Why now."""


class Wait(NamedTuple):
    """Nothing yet; ask again at `until`."""

    until: float


def halve(members: list[T]) -> list[list[T]]:
    """A batch that failed, in two: whoever spoils it stands alone after log2(n) rounds."""
    middle = (len(members) + 1) // 2
    return [half for half in (members[:middle], members[middle:]) if half]
