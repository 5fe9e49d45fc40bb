"""The leases of this machine's minions: written when one was started, renewed while it lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from model_registry.leases import Leases, Replica


class HeldLeases:
    """What coordinators find minions by; what the database refuses now is written the next time."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._held: dict[str, Replica] = {}
        self._unlisted: set[str] = set()  # replicas that the registry does not list yet
        self._renewal_due = 0.0  # monotonic

    def hold(self, replica: Replica) -> None:
        """It was just started: `keep` is to list it."""
        self._held[replica.id] = replica
        self._unlisted.add(replica.id)

    async def keep(self, living: Iterable[str], ttl: float) -> None:
        """Lists those that are not, and renews the others where it is time.

        Args:
            living: ids of the replicas whose processes are there.
            ttl: for how long they are to count as alive, in seconds.
        """
        alive = {id: self._held[id] for id in living if id in self._held}
        missing = set(self._unlisted)
        now = time.monotonic()
        if now >= self._renewal_due:  # every renewal waits for the disk
            missing |= await asyncio.to_thread(self._leases.renew, list(alive), ttl=ttl)
            self._renewal_due = now + ttl / 3
        for id in missing & alive.keys():
            await asyncio.to_thread(self._leases.put, alive[id], ttl=ttl)
            if self._held[id] is alive[id]:  # not started again meanwhile
                self._unlisted.discard(id)

    async def drop(self, id: str) -> None:
        """Nobody is to find it any more."""
        await asyncio.to_thread(self._leases.drop, [id])

    async def drop_all(self) -> None:
        await asyncio.to_thread(self._leases.drop, list(self._held))
