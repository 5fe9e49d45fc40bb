"""Which examples run together, and when.

Plain decisions: takes facts and the time, returns a batch or the moment to ask
again. No clock, no timer, no worker; `lane` has those. An idle worker asks; a
batch is due when it is full, when waiting for more is not worth it (`economy`),
when its oldest member has waited `max_queue_delay_seconds`, or when somebody's
deadline is near. Whose turn it is says `discipline`; a batch is formed in that order,
of examples of one shape, and grows no further than its tightest deadline allows by
the learned cost. While all workers are busy, one may be handed its next batch, if
that would not get any fuller and holds whoever's turn it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

from minion.host.batch import Batch, BatchPolicy, Group, Queued, Wait
from minion.host.deadlines import Deadlines
from minion.host.discipline import AGEING_SECONDS, classes
from minion.host.waiting import KEPT, Entry, Key, Line, is_stale
from wire.flows import CLASSES, Flow
from wire.reasons import Reason

#: Past so many shapes at once none is held open for company: all the others would wait for it.
MAX_HELD = 8
#: The rank of those who by the learned cost will not be answered in time, even alone: behind
#: all others, and run where the device would be idle. What was learned may be wrong.
_LOST = len(CLASSES)
#: Who rise to a more urgent class at one look: it must not keep the loop.
MAX_RISING = 64

E = TypeVar("E", bound=Queued)


class Economy(Protocol):
    """What the queue asks about cost, and the worth of waiting and of sharing; see `economy`."""

    def batch_seconds(self, size: int, *, busy_workers: int) -> float: ...

    def worth_waiting_until(
        self, members: int, *, idle_workers: int, busy_workers: int, now: float
    ) -> float: ...

    def share(
        self, waiting: int, limit: int, *, idle_workers: int, free_in: Sequence[float]
    ) -> int: ...

    def ahead(self, limit: int, *, busy_workers: int) -> int | None: ...


_Formed = tuple[list[Entry[E]], Reason]


class BatchQueue(Generic[E]):
    """The examples of one lane that wait for a worker. Each costs O(log n) in all."""

    def __init__(self, policy: BatchPolicy, economy: Economy) -> None:
        self.policy = policy
        self._economy = economy
        self._classes = classes()
        self._entries: dict[E, Entry[E]] = {}
        self.emptied = 0
        """How often the last who waited has left, to a worker or for good."""
        self._lines: dict[Group, Line[E]] = {}
        self._fronts: list[Key[E]] = []  # whoever is first in a line, and others
        self._rising: list[deque[Entry[E]]] = [deque() for _ in CLASSES]  # by rank
        self._deadlines: Deadlines[E] = Deadlines(self._entries)
        self._formed: deque[_Formed[E]] = deque()  # batches that nobody joins any more
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_expiry(self) -> float:
        """Nobody here expires before this; `expire` tells who has, and looks again."""
        return self._deadlines.earliest

    def ahead(self, flow: Flow) -> int:
        """About how many go before the next example of this flow; takes as many steps as
        there are callers."""
        urgent = sum(each.waiting for each in self._classes[: flow.rank])
        formed = sum(len(members) for members, _ in self._formed)
        return formed + urgent + self._classes[flow.rank].ahead(flow.caller)

    def offer(self, example: E, now: float) -> None:
        entry = self._entry(example, now)
        group, flow = example.group, example.flow
        line = self._lines.get(group)
        if line is None:
            line = self._lines[group] = Line(group)
        rank = flow[0]
        share = self._classes[rank].enter(flow, group.work)
        entry.rank, entry.tag, entry.share = rank, share.tag, share
        if rank:
            self._will_rise(entry, now)
        if line.join(entry):
            self._put_in_front(line)

    def put_back(self, members: list[E]) -> None:
        """A batch that did not run to its end. It goes first, and nobody joins it."""
        formed = [self._entry(example, -math.inf) for example in members]
        self._keep_formed(formed, Reason.AGAIN)

    def discard(self, example: E) -> bool:
        """Takes out an example that nobody waits for; False if it is not here."""
        entry = self._entries.get(example)
        if entry is None:
            return False
        self._remove(entry)
        return True

    def expire(self, now: float) -> list[E]:
        """Takes out those whose deadline has passed."""
        if self._deadlines.earliest > now:
            return []
        expired = self._deadlines.pop(now)  # one may be named twice
        return [self._remove(entry) for entry in expired if entry.example is not None]

    def clear(self) -> list[E]:
        """Takes out everybody."""
        return [self._remove(entry) for entry in list(self._entries.values())]

    def take(
        self, now: float, *, idle_workers: int = 1, free_in: Sequence[float] = ()
    ) -> Batch[E] | Wait | None:
        """What an idle worker should do now; None when nobody waits.

        Args:
            idle_workers: the one that asks included. The shares of the others are
                theirs as soon as they ask.
            free_in: seconds until each busy worker is expected to be free.
        """
        late = self.expire(now)
        self._raise(now)
        formed = self._next_formed()
        if formed is not None:
            members, reason = formed
            return Batch(self._released(members), late, reason)
        found = self._due(idle_workers, len(free_in), now)
        if found is None or isinstance(found, Wait):
            return Batch([], late) if late else found
        line, reason = found
        share = self._economy.share(
            line.count, self._limit(line), idle_workers=idle_workers, free_in=free_in
        )
        busy = len(free_in)
        members = self._form(line, share, now, busy)
        for _ in range(idle_workers - 1):
            if line.count:
                self._keep_formed(self._form(line, share, now, busy), reason)
        return Batch(self._released(members), late, reason)

    def take_ahead(
        self,
        now: float,
        *,
        takers: int,
        busy_workers: int,
        begins_in: Callable[[], float] = lambda: 0.0,
    ) -> Batch[E] | None:
        """The next batch of a worker that still runs one, if it is full already.

        Args:
            takers: workers that could be handed their next batch. There is a full
                one for each, or none goes: whoever is done first finds work.
            begins_in: tells in how many seconds the worker is expected to have done what
                it runs; asked if there is a batch to form.
        """
        late = self.expire(now)
        self._raise(now)
        members = self._ahead(now, begins_in, takers, busy_workers)
        if members is None and not late:
            return None
        return Batch(self._released(members or []), late, Reason.AHEAD)

    def _ahead(
        self, now: float, begins_in: Callable[[], float], takers: int, busy_workers: int
    ) -> list[Entry[E]] | None:
        if self._formed or not self._lines:
            return None
        # Whose turn it is or nobody: who is handed full batches of one shape is never idle, and
        # those of another would wait for as long as the first keep coming.
        line = self._front()
        size = self._economy.ahead(self._limit(line), busy_workers=busy_workers)
        if size is None or line.count < takers * size or line.first()[0] == _LOST:
            return None
        return self._form(line, size, now + begins_in(), busy_workers - 1)

    # Those who wait.

    def _entry(self, example: E, now: float) -> Entry[E]:
        entry = self._entries[example] = Entry(example, now, next(self._numbers))
        deadline = example.deadline
        if deadline is not None and deadline < self._deadlines.earliest:
            self._deadlines.earliest = deadline
        return entry

    def _will_rise(self, entry: Entry[E], now: float) -> None:
        entry.since = now
        rising = self._rising[entry.rank]
        rising.append(entry)
        if len(rising) > 2 * len(self._entries) + KEPT:
            kept = [each for each in rising if _is_in(each, entry.rank)]
            rising.clear()
            rising.extend(kept)

    def _raise(self, now: float) -> None:
        """Who waited for too long in a class competes in the next one."""
        for rank in range(1, len(CLASSES)):
            rising = self._rising[rank]
            for _ in range(min(len(rising), MAX_RISING)):
                entry = rising[0]
                if _is_in(entry, rank):
                    if entry.since + AGEING_SECONDS > now:
                        break
                    self._move(entry, rank - 1, now)
                rising.popleft()

    def _move(self, entry: Entry[E], rank: int, now: float) -> None:
        """Into another class, or to those who are lost."""
        line, example = entry.line, entry.example
        assert line is not None
        assert example is not None
        if entry.share is not None:
            entry.share.leave()
        entry.rank, entry.number, entry.share = rank, next(self._numbers), None
        if rank != _LOST:
            share = self._classes[rank].enter(example.flow, example.group.work)
            entry.share, entry.tag = share, share.tag
            if rank:
                self._will_rise(entry, now)
        line.place(entry)
        self._put_in_front(line)

    def _remove(self, entry: Entry[E]) -> E:
        """It is gone, and was not served."""
        if entry.line is not None:
            self._leave(entry, entry.line)
            if entry.share is not None:
                entry.share.leave()
        elif entry.formed is not None:
            entry.formed.remove(entry)
        return self._release(entry)

    def _leave(self, entry: Entry[E], line: Line[E]) -> None:
        was_first = line.first()[3] is entry
        line.leave(entry)
        if not line.count:
            del self._lines[line.group]
        elif was_first:
            self._put_in_front(line)

    def _released(self, members: list[Entry[E]]) -> list[E]:
        return [self._release(entry) for entry in members]

    def _release(self, entry: Entry[E]) -> E:
        example = entry.example
        assert example is not None
        entry.example = None
        del self._entries[example]
        if not self._entries:
            self.emptied += 1
        return example

    # Whose turn it is.

    def _put_in_front(self, line: Line[E]) -> None:
        fronts = self._fronts
        if len(fronts) > 2 * len(self._lines) + KEPT:
            fronts[:] = [each.first() for each in self._lines.values()]
            heapify(fronts)
        else:
            heappush(fronts, line.first())

    def _front(self) -> Line[E]:
        """The line of whoever comes first of all. Somebody is here."""
        fronts = self._fronts
        while is_stale(fronts[0]):
            heappop(fronts)
        line = fronts[0][3].line
        assert line is not None
        return line

    def _due(
        self, idle_workers: int, busy_workers: int, now: float
    ) -> tuple[Line[E], Reason] | Wait | None:
        """Of the lines that are due the one whose turn it is, and why it is due."""
        lines = self._lines.values()
        if not lines:
            return None
        if len(lines) > MAX_HELD:
            return self._front(), Reason.SHAPES
        if len(lines) == 1:
            [line] = lines
            moment, reason = self._due_at(line, idle_workers, busy_workers, now)
            return (line, reason) if moment <= now else Wait(moment)
        moments = [(self._due_at(line, idle_workers, busy_workers, now), line) for line in lines]
        due = [(line, reason) for (moment, reason), line in moments if moment <= now]
        if not due:
            return Wait(min(moment for (moment, _), _ in moments))
        return min(due, key=lambda each: each[0].first())

    def _due_at(
        self, line: Line[E], idle_workers: int, busy_workers: int, now: float
    ) -> tuple[float, Reason]:
        count = line.count
        if count >= self.policy.max_batch_size:
            return -math.inf, Reason.FULL
        closes = line.oldest() + self.policy.max_queue_delay_seconds
        if closes <= now:
            return closes, Reason.WINDOW
        worth = self._economy.worth_waiting_until(
            count, idle_workers=idle_workers, busy_workers=busy_workers, now=now
        )
        until = min((closes, Reason.WINDOW), (worth, Reason.COMPANY))
        if until[0] <= now:
            return until
        takes = self._economy.batch_seconds(count + 1, busy_workers=busy_workers)
        return min(until, (self._deadlines.earliest - takes, Reason.DEADLINE))

    def _limit(self, line: Line[E]) -> int:
        """How many of a group one batch takes at most."""
        fitting = self.policy.max_batch_bytes // max(line.group.size_bytes, 1)
        return min(self.policy.max_batch_size, max(fitting, 1))

    # Batches.

    def _next_formed(self) -> _Formed[E] | None:
        while self._formed:
            formed, reason = self._formed.popleft()
            most = self.policy.max_batch_size  # which may have been higher when it was formed
            members, rest = formed[:most], formed[most:]
            if rest:
                self._keep_formed(rest, reason, first=True)
            if members:  # else all of them have left since
                return members, reason
        return None

    def _keep_formed(self, members: list[Entry[E]], reason: Reason, *, first: bool = False) -> None:
        for entry in members:
            entry.formed = members
        if first:
            self._formed.appendleft((members, reason))
        else:
            self._formed.append((members, reason))

    def _form(self, line: Line[E], size: int, begins: float, busy_workers: int) -> list[Entry[E]]:
        """The next ones of a line, no more than can be answered in time together."""
        members: list[Entry[E]] = []
        longest = begins + self._economy.batch_seconds(size, busy_workers=busy_workers)
        tightest = math.inf  # of those that can be answered in time
        while line.count and len(members) < size:
            rank, tag, _, entry = line.first()
            example, share = entry.example, entry.share
            assert example is not None
            deadline = example.deadline
            if deadline is None or deadline > tightest or rank == _LOST:
                deadline = tightest
            if deadline < longest:
                # The largest batch would be too long for somebody: look closely.
                if deadline < tightest and self._is_late(deadline, begins, 1, busy_workers):
                    self._move(entry, _LOST, begins)
                    continue
                if self._is_late(deadline, begins, len(members) + 1, busy_workers) and members:
                    break
            tightest = deadline
            if share is not None:
                share.serve(tag)
            members.append(line.pop())
        if line.count:
            self._put_in_front(line)
        else:
            del self._lines[line.group]
        return members

    def _is_late(self, deadline: float, begins: float, size: int, busy_workers: int) -> bool:
        return begins + self._economy.batch_seconds(size, busy_workers=busy_workers) > deadline


def _is_in(entry: Entry[E], rank: int) -> bool:
    return entry.line is not None and entry.rank == rank
