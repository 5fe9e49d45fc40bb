"""Whose turn it is: classes, and a fair share of the device for each caller.

Weighted fair queueing. Each example gets a tag when it comes, and the lowest is
served first: `max(virtual time, the flow's last tag) + work / weight`, where
virtual time is the highest tag that was served (Golestani 1994, self-clocked).
Of flows that are equally behind, the one with less work goes first; while
virtual time moves on a tag stays, so that nobody waits for ever; and a flow
with many waiting stands in its own way only. Work is in any unit that is the
same for a whole lane.

Classes are strict: the lowest tag of a more urgent one goes before any of a less
urgent one. Who has waited for `AGEING_SECONDS` in a class competes in the next
one from then on, as a flow of its own. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable

from wire.flows import CLASSES, Flow

#: An upload in bulk is looked at by somebody after a third of the default timeout.
AGEING_SECONDS = 10.0


class Share:
    """One flow's part in one class, for as long as it has examples there."""

    __slots__ = ("key", "of", "tag", "waiting")

    def __init__(self, of: Class, key: Hashable) -> None:
        self.of = of
        self.key = key
        self.tag = 0.0
        """Of the example that entered last."""
        self.waiting = 0

    def serve(self, tag: float) -> None:
        """The example with this tag goes to a worker."""
        of = self.of
        if tag > of.virtual_time:
            of.virtual_time = tag
        self.waiting -= 1
        if not self.waiting:
            of.forget(self)

    def leave(self) -> None:
        """An example is gone, without having been served: its last one takes the debt along."""
        self.waiting -= 1
        if not self.waiting:
            self.of.forget(self)


class Class:
    """The flows of one class."""

    __slots__ = ("_shares", "rank", "virtual_time")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.virtual_time = 0.0
        self._shares: dict[Hashable, Share] = {}

    def enter(self, flow: Flow, work: float) -> Share:
        """One example of this flow joins, whose own class this is or who has risen to it.

        Returns:
            The share that it belongs to, whose `tag` is now this example's.
        """
        rank, caller, weight = flow
        key: Hashable = caller if rank == self.rank else (caller, rank)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share(self, key)
        begins, now = share.tag, self.virtual_time
        share.tag = (begins if begins > now else now) + work / weight
        share.waiting += 1
        return share

    @property
    def waiting(self) -> int:
        """Examples of all its flows."""
        return sum(share.waiting for share in self._shares.values())

    def ahead(self, caller: int) -> int:
        """About how many go before the next example of this caller's own, as if all cost the
        same: its own, and of every other flow no more than of its own."""
        own = self._shares.get(caller)
        turns = 1 if own is None else own.waiting + 1
        return sum(min(share.waiting, turns) for share in self._shares.values())

    def forget(self, share: Share) -> None:
        """It has nobody here any more."""
        del self._shares[share.key]
        if not self._shares:
            self.virtual_time = 0.0


def classes() -> tuple[Class, ...]:
    """One of each, the most urgent first."""
    return tuple(Class(rank) for rank in range(len(CLASSES)))
