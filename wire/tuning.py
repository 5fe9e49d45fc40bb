"""The numbers that a lane goes by, and how they are changed while it runs.

Messages of a link, which `messages` knows all, and the numbers themselves: whoever
decides by them is handed a `Tuning`. What makes sense is checked where an operator
says it; here, whether these are numbers at all.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from wire.errors import WireError
from wire.frames import Frame, encode_frame
from wire.heads import Kind, count, pack, positive, seconds, unpack
from wire.tensor import Buffer


class Tuning(NamedTuple):
    """The numbers an operator may change while a lane runs."""

    queue_limit: Optional[int]
    """Examples queued plus running; None where the promise governs."""
    max_batch_size: int
    max_queue_delay_seconds: float
    revision: int
    """Grows with every change; a host ignores what is older than what it has."""
    promise_seconds: Optional[float] = None
    """Within which who is let in is answered; None where the queue limit governs."""

    def head(self) -> Dict[str, Any]:
        """The numbers by name; of queue limit and promise the one that governs."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Tune(NamedTuple):
    """Coordinator to host: from now on, these numbers. Answered by Tuned under the same id."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNE, self.id, pack(self.tuning.head()))

    @classmethod
    def decode(cls, frame: Frame) -> Tune:
        return cls(frame.id, _tuning(unpack(frame)))


class Tuned(NamedTuple):
    """Host to coordinator: the numbers in force."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNED, self.id, pack(self.tuning.head()))

    @classmethod
    def decode(cls, frame: Frame) -> Tuned:
        return cls(frame.id, _tuning(unpack(frame)))


def _tuning(head: Mapping[str, Any]) -> Tuning:
    if ("queue_limit" in head) == ("promise_seconds" in head):
        raise WireError("either queue_limit or promise_seconds governs")
    promise = seconds(head, "promise_seconds") if "promise_seconds" in head else None
    return Tuning(
        positive(head, "queue_limit") if promise is None else None,
        positive(head, "max_batch_size"),
        seconds(head, "max_queue_delay_seconds"),
        count(head, "revision"),
        promise,
    )
