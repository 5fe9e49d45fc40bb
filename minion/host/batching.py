"""Which examples run together, and when.

Plain decisions: takes facts and the time, returns a batch or the moment to ask
again. No clock, no timer, no worker; `lane` has those. An idle worker asks; a
batch is due when it is full, when waiting for more is not worth it (`economy`),
or when its oldest member has waited `max_queue_delay_seconds`. While all workers
are busy, one may be handed its next batch, if that would not get any fuller and it
is the oldest's turn. Examples of different shapes never meet.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Group(Protocol):
    """Examples of one group may share a batch: their names, dtypes and shapes are equal."""

    @property
    def size_bytes(self) -> int:
        """What each of them takes of a batch's memory."""

    def __hash__(self) -> int: ...


class Queued(Protocol):
    """What the queue needs to know of an example."""

    @property
    def group(self) -> Group: ...

    @property
    def deadline(self) -> float | None: ...


E = TypeVar("E", bound=Queued)


class BatchPolicy(NamedTuple):
    max_batch_size: int
    max_queue_delay_seconds: float
    max_batch_bytes: int = 2**63
    """What one batch may take of the shared memory. A single example always goes."""


class Economy(Protocol):
    """What the queue asks about the worth of waiting and of sharing; see `economy`."""

    def worth_waiting_until(
        self, members: int, *, idle_workers: int, busy_workers: int, now: float
    ) -> float: ...

    def share(
        self, waiting: int, limit: int, *, idle_workers: int, free_in: Sequence[float]
    ) -> int: ...

    def ahead(self, limit: int, *, busy_workers: int) -> int | None: ...


class Batch(NamedTuple, Generic[E]):
    """These, now. `late` were found expired on the way and are to be told so."""

    members: list[E]
    late: list[E]


class Wait(NamedTuple):
    """Nothing yet; ask again at `until`."""

    until: float


class BatchQueue(Generic[E]):
    """The examples of one lane that wait for a worker."""

    def __init__(self, policy: BatchPolicy, economy: Economy) -> None:
        self.policy = policy
        self._economy = economy
        self._groups: dict[Group, OrderedDict[E, float]] = {}
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

    def take(
        self, now: float, *, idle_workers: int = 1, free_in: Sequence[float] = ()
    ) -> Batch[E] | Wait | None:
        """What an idle worker should do now; None when nobody waits.

        Args:
            idle_workers: the one that asks included. The shares of the others are
                theirs as soon as they ask.
            free_in: seconds until each busy worker is expected to be free.
        """
        if self._formed:
            return self._take_formed(now)
        if not self._groups:
            return None
        moments = [
            (self._due_at(members, idle_workers, len(free_in), now), group)
            for group, members in self._groups.items()
        ]
        due = [group for moment, group in moments if moment <= now]
        if not due:
            return Wait(min(moment for moment, _ in moments))
        group = min(due, key=self._oldest)
        waiting = len(self._groups[group])
        share = self._economy.share(
            waiting, self._limit(group), idle_workers=idle_workers, free_in=free_in
        )
        batch = self._form(group, share, now)
        for _ in range(idle_workers - 1):
            if group in self._groups:
                other = self._form(group, share, now)
                batch.late.extend(other.late)
                if other.members:
                    self._formed.append(other.members)
        return batch

    def _take_formed(self, now: float) -> Batch[E]:
        formed = self._formed.popleft()
        late = [example for example in formed if _expired(example, now)]
        members = [example for example in formed if example not in late]
        most = self.policy.max_batch_size  # which may have been higher when it was formed
        if len(members) > most:
            self._formed.appendleft(members[most:])
        return Batch(members[:most], late)

    def take_ahead(self, now: float, *, takers: int, busy_workers: int) -> Batch[E] | None:
        """The next batch of a worker that still runs one, if it is full already.

        Args:
            takers: workers that could be handed their next batch. There is a full
                one for each, or none goes: whoever is done first finds work.
        """
        if self._formed or not self._groups:
            return None
        # The oldest's or none: who is handed full batches of one shape is never idle, and
        # those of another would wait for as long as the first keep coming.
        group = min(self._groups, key=self._oldest)
        size = self._economy.ahead(self._limit(group), busy_workers=busy_workers)
        if size is None or len(self._groups[group]) < takers * size:
            return None
        return self._form(group, size, now)

    def _due_at(
        self, members: OrderedDict[E, float], idle_workers: int, busy_workers: int, now: float
    ) -> float:
        count = len(members)
        if count >= self.policy.max_batch_size:
            return -math.inf
        closes = next(iter(members.values())) + self.policy.max_queue_delay_seconds
        if closes <= now:
            return closes
        worth = self._economy.worth_waiting_until(
            count, idle_workers=idle_workers, busy_workers=busy_workers, now=now
        )
        return min(closes, worth)

    def _oldest(self, group: Group) -> float:
        return next(iter(self._groups[group].values()))

    def _limit(self, group: Group) -> int:
        """How many of a group one batch takes at most."""
        fitting = self.policy.max_batch_bytes // max(group.size_bytes, 1)
        return min(self.policy.max_batch_size, max(fitting, 1))

    def _form(self, group: Group, size: int, now: float) -> Batch[E]:
        waiting = self._groups[group]
        members: list[E] = []
        late: list[E] = []
        while waiting and len(members) < size:
            example, _ = waiting.popitem(last=False)
            (late if _expired(example, now) else members).append(example)
        if not waiting:
            del self._groups[group]
        return Batch(members, late)


def halve(members: list[E]) -> list[list[E]]:
    """A batch that failed, in two: whoever spoils it stands alone after log2(n) rounds."""
    middle = (len(members) + 1) // 2
    return [half for half in (members[:middle], members[middle:]) if half]


def _expired(example: Queued, now: float) -> bool:
    return example.deadline is not None and example.deadline <= now
