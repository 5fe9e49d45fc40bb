"""Who in the queue expires when. Most leave long before, and cost next to nothing here. Pure."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from minion.host.waiting import KEPT, Entry


class Dated(Protocol):
    @property
    def deadline(self) -> float | None: ...


E = TypeVar("E", bound=Dated)


class Deadlines(Generic[E]):
    """A heap of them, built when the first of them has passed."""

    __slots__ = ("_entries", "_heap", "_seen", "earliest")

    def __init__(self, entries: dict[E, Entry[E]]) -> None:
        """
        Args:
            entries: all that are in the queue, the latest last.
        """
        self.earliest = math.inf
        """Nobody expires before this: whoever adds to the queue keeps it true."""
        self._entries = entries
        self._heap: list[tuple[float, int, Entry[E]]] = []
        self._seen = -1  # the highest number of those that are in the heap

    def pop(self, now: float) -> list[Entry[E]]:
        """Those in the queue whose deadline has passed, earliest first."""
        self._look_at_new()
        heap = self._heap
        if len(heap) > 2 * len(self._entries) + KEPT:
            heap[:] = [each for each in heap if each[2].example is not None]
            heapify(heap)
        expired = []
        while heap and (heap[0][2].example is None or heap[0][0] <= now):
            entry = heappop(heap)[2]
            if entry.example is not None:
                expired.append(entry)
        self.earliest = heap[0][0] if heap else math.inf
        return expired

    def _look_at_new(self) -> None:
        latest = self._seen
        for example, entry in reversed(self._entries.items()):
            if entry.number <= latest:
                break
            self._seen = max(self._seen, entry.number)
            if example.deadline is not None:
                heappush(self._heap, (example.deadline, entry.number, entry))
