"""Examples that wait, in order, where any of them may leave at any time.

Whoever leaves is marked and stays in the heap until it comes to the top, or until
more than half of what is there has left: each costs O(log n) once. Pure.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

import msgspec

from minion.host.batch import Group
from minion.host.discipline import Share

E = TypeVar("E")
#: So many that have left may always stay: below it, looking costs more than it frees.
KEPT = 64


class Entry(msgspec.Struct, Generic[E], eq=False):
    """One example in the queue, from `offer` until it is handed out or gone."""

    example: E | None
    """None once it has left: what is still in a heap keeps no memory of it."""
    arrived: float
    number: int
    rank: int = 0
    tag: float = 0.0
    share: Share | None = None
    line: Line[E] | None = None
    """Those of its group; None in a batch that is formed."""
    formed: list[Entry[E]] | None = None
    """The batch that it is in; only where it is in no line."""
    since: float = 0.0
    """When it entered the class that it is in; only of those that rise."""


Key = tuple[int, float, int, Entry[E]]
"""Rank, tag and a number that is given once, so that no two are equal. Stale where the entry
has another number by now, or is in no line."""


def is_stale(key: Key[E]) -> bool:
    entry = key[3]
    return entry.line is None or entry.number != key[2]


class Line(Generic[E]):
    """Those of one group, the next one first."""

    __slots__ = ("_arrivals", "_heap", "count", "group")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.count = 0
        self._heap: list[Key[E]] = []
        self._arrivals: deque[Entry[E]] = deque()

    def join(self, entry: Entry[E]) -> bool:
        """A new one; whether it is the first now."""
        entry.line = self
        self.count = count = self.count + 1
        heap, arrivals = self._heap, self._arrivals
        arrivals.append(entry)
        if len(arrivals) > 2 * count + KEPT:
            self._arrivals = deque(each for each in arrivals if each.line is self)
        heappush(heap, (entry.rank, entry.tag, entry.number, entry))
        return heap[0][3] is entry

    def place(self, entry: Entry[E]) -> None:
        """It has another rank, tag and number now."""
        heappush(self._heap, (entry.rank, entry.tag, entry.number, entry))

    def first(self) -> Key[E]:
        """Whose turn it is. Somebody is here."""
        heap = self._heap
        while is_stale(heap[0]):
            heappop(heap)
        return heap[0]

    def oldest(self) -> float:
        """When the one came that has waited longest. Somebody is here."""
        arrivals = self._arrivals
        while arrivals[0].line is not self:
            arrivals.popleft()
        return arrivals[0].arrived

    def leave(self, entry: Entry[E]) -> None:
        self.count -= 1
        entry.line = None
        heap = self._heap
        if len(heap) > 2 * self.count + KEPT:
            heap[:] = [key for key in heap if not is_stale(key)]
            heapify(heap)

    def pop(self) -> Entry[E]:
        """The first one leaves, for a batch. `first` was asked just before."""
        entry = heappop(self._heap)[3]
        self.count -= 1
        entry.line = None
        return entry
