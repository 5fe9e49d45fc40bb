"""How a lane stands, as its host tells every coordinator: how much room there is, and why.

Messages of a link; `messages` knows them all. A host pushes them, and
coordinators send work by what they were told last; neither is decided here.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional

from wire.frames import Frame, encode_frame
from wire.heads import Kind, count, flag, mapped, pack, positive, seconds, unpack
from wire.tensor import Buffer


class Promise(NamedTuple):
    """What a host goes by that was told to answer within a time: see docs/adr/0013."""

    seconds: float
    """Within which who is let in is answered."""
    workers: int
    """How many batches ran side by side when the limit was set."""
    batch_size: int
    """Of a full batch."""
    alone_seconds: float
    """What a batch of one took then; 0 before anything was measured."""
    batch_seconds: float
    """Which that takes, with all workers busy; 0 before anything was measured."""
    deviation: float
    """Of one batch from what is expected, as a part of it: one standard deviation."""
    uncertainty: float
    """The same, of what is expected itself."""
    delay_seconds: float
    """For which a batch that is not full may be held open."""
    standing: bool
    """Whether the limit is kept lower, since more keep coming: see docs/adr/0018."""

    @property
    def enough(self) -> int:
        """So many examples keep all workers busy: a batch on each, and its next one."""
        return 2 * self.workers * self.batch_size


class Status(NamedTuple):
    """Host to coordinator, pushed whenever it changes: how much room there is.

    `others` counts the examples, queued and running, that came by other roads
    than this link; together with what the coordinator has outstanding itself
    it is compared with `queue_limit`. What was learned is 0 before anything was.
    """

    ready: bool
    draining: bool
    queue_limit: int
    others: int
    seconds_per_example: float
    """How often a place becomes free while the lane is busy."""
    seconds_alone: float
    """What a batch of one takes."""
    workers: int
    """How many batches may run side by side."""
    coordinators: int
    """How many are connected, and share the places that become free."""
    promise: Optional[Promise] = None
    """What `queue_limit` follows from, where a promise governs."""
    batch_limit: Optional[int] = None
    """The largest batch, where memory ran out with a larger one that is tuned."""
    seconds_until_try: Optional[float] = None
    """Until another worker is started, where they end as often as they are."""

    def encode(self) -> List[Buffer]:
        head = self._asdict()
        for name in ("promise", "batch_limit", "seconds_until_try"):
            del head[name]
        if self.promise is not None:
            head["promise"] = self.promise._asdict()
        if self.batch_limit is not None:
            head["batch_limit"] = self.batch_limit
        if self.seconds_until_try is not None:
            head["seconds_until_try"] = self.seconds_until_try
        return encode_frame(Kind.STATUS, 0, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Status:
        head = unpack(frame)
        return cls(
            flag(head, "ready"),
            flag(head, "draining"),
            count(head, "queue_limit"),
            count(head, "others"),
            seconds(head, "seconds_per_example"),
            seconds(head, "seconds_alone"),
            count(head, "workers"),
            count(head, "coordinators"),
            _promise(mapped(head, "promise")) if "promise" in head else None,
            positive(head, "batch_limit") if "batch_limit" in head else None,
            seconds(head, "seconds_until_try") if "seconds_until_try" in head else None,
        )


class Drain(NamedTuple):
    """Host to coordinator: send nothing more; what was accepted will be answered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.DRAIN, 0, pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Drain:
        unpack(frame)
        return cls()


def _promise(head: Mapping[str, Any]) -> Promise:
    return Promise(
        seconds(head, "seconds"),
        count(head, "workers"),
        count(head, "batch_size"),
        seconds(head, "alone_seconds"),
        seconds(head, "batch_seconds"),
        seconds(head, "deviation"),
        seconds(head, "uncertainty"),
        seconds(head, "delay_seconds"),
        flag(head, "standing"),
    )
