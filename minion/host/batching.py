"""Which examples run together, and when.

Plain decisions: takes facts and the time, returns a batch or the moment to ask
again. No clock, no timer, no worker; `lane` has those. An idle worker asks; a
batch is due when it is full or when its oldest member has waited
`max_queue_delay_seconds`. Examples of different shapes never meet.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar


class Queued(Protocol):
    """What the queue needs to know of an example."""

    @property
    def group(self) -> Hashable:
        """Examples of one group may share a batch: their names, dtypes and shapes are equal."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def deadline(self) -> float | None: ...


E = TypeVar("E", bound=Queued)


class BatchPolicy(NamedTuple):
    max_batch_size: int
    max_queue_delay_seconds: float
    max_batch_bytes: int = 2**63
    """What one batch may take of the shared memory. A single example always goes."""


class Batch(NamedTuple, Generic[E]):
    """These, now. `late` were found expired on the way and are to be told so."""

    members: list[E]
    late: list[E]


class Wait(NamedTuple):
    """Nothing yet; ask again at `until`."""

    until: float


class BatchQueue(Generic[E]):
    """The examples of one lane that wait for a worker."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.policy = policy
        self._groups: dict[Hashable, OrderedDict[E, float]] = {}
        self._formed: deque[list[E]] = deque()  # batches that nobody joins any more

    def __len__(self) -> int:
        return sum(map(len, self._groups.values())) + sum(map(len, self._formed))

    def offer(self, example: E, now: float) -> None:
        group = self._groups.get(example.group)
        if group is None:
            group = self._groups[example.group] = OrderedDict()
        group[example] = now

    def put_back(self, members: list[E]) -> None:
        """A batch that did not run to its end. It goes first, and nobody joins it."""
        self._formed.append(members)

    def discard(self, example: E) -> bool:
        """Takes out an example that nobody waits for; False if it is not here."""
        group = self._groups.get(example.group)
        if group is not None and group.pop(example, None) is not None:
            if not group:
                del self._groups[example.group]
            return True
        for members in self._formed:
            if example in members:
                members.remove(example)
                if not members:
                    self._formed.remove(members)
                return True
        return False

    def clear(self) -> list[E]:
        """Takes out everybody."""
        everybody = [example for members in self._formed for example in members]
        for group in self._groups.values():
            everybody += group
        self._formed.clear()
        self._groups.clear()
        return everybody

    def take(self, now: float, *, idle_workers: int = 1) -> Batch[E] | Wait | None:
        """What an idle worker should do now; None when nobody waits.

        Args:
            idle_workers: the one that asks included. They share what is due evenly:
                two batches side by side end before one of twice the size. The shares
                of the others are theirs as soon as they ask.
        """
        if self._formed:
            members = self._formed.popleft()
            late = [example for example in members if _expired(example, now)]
            return Batch([example for example in members if example not in late], late)
        if not self._groups:
            return None
        due = [group for group in self._groups.values() if self._due_at(group) <= now]
        if not due:
            return Wait(min(map(self._due_at, self._groups.values())))
        group = min(due, key=_oldest)
        share = min(-(-len(group) // idle_workers), self.policy.max_batch_size)
        batch = self._form(group, share, now)
        for _ in range(idle_workers - 1):
            if group:
                other = self._form(group, share, now)
                batch.late.extend(other.late)
                if other.members:
                    self._formed.append(other.members)
        return batch

    def _due_at(self, group: OrderedDict[E, float]) -> float:
        if len(group) >= self.policy.max_batch_size:
            return float("-inf")
        return _oldest(group) + self.policy.max_queue_delay_seconds

    def _form(self, group: OrderedDict[E, float], size: int, now: float) -> Batch[E]:
        members: list[E] = []
        late: list[E] = []
        room = self.policy.max_batch_bytes
        while group and len(members) < size:
            example = next(iter(group))
            if members and example.size_bytes > room:
                break
            del group[example]
            if _expired(example, now):
                late.append(example)
            else:
                members.append(example)
                room -= example.size_bytes
        if not group:
            del self._groups[(members or late)[0].group]
        return Batch(members, late)


def halve(members: list[E]) -> list[list[E]]:
    """A batch that failed, in two: whoever spoils it stands alone after log2(n) rounds."""
    middle = (len(members) + 1) // 2
    return [half for half in (members[:middle], members[middle:]) if half]


def _oldest(group: OrderedDict[E, float]) -> float:
    return next(iter(group.values()))


def _expired(example: Queued, now: float) -> bool:
    return example.deadline is not None and example.deadline <= now
