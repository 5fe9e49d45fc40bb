"""Which minions are alive.

A host is put in when it listens, its lease renewed while it lives, and dropped
when it leaves. A lease that nobody renews lapses: the host died, or whoever
renews does not get to it. Addresses only: whether a minion is ready or busy it
says itself, over its link. Called by whoever starts hosts, and by the
coordinators' fleets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, insert, select, update

from model_registry.revision import grow
from storage.engine import reading, writing
from storage.tables import replicas

#: How long a lease that lapsed is still told of; then nobody will come back for it.
FORGOTTEN_AFTER_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One minion: a host that serves one version of one model."""

    id: str
    model: str
    version: str
    address: str
    """`unix:/path`, or `tcp:host:port`."""
    epoch: int
    """Grows each time that the host behind this id is started."""
    pid: int


class Listed(NamedTuple):
    """What was put in and not dropped, each by id."""

    alive: list[Replica]
    lapsed: list[Replica]


class Leases:
    """Replicas with the time until which each counts as alive.

    The clock gives seconds since 1970 in UTC, since it is compared between machines.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def put(self, replica: Replica, *, ttl: float) -> None:
        """Count the replica as alive for `ttl` seconds, in place of an earlier one of its id."""
        now = self._clock()
        with writing(self._engine) as connection:
            forgotten = replicas.c.expires_at <= now - FORGOTTEN_AFTER_SECONDS
            connection.execute(delete(replicas).where(forgotten | (replicas.c.id == replica.id)))
            connection.execute(insert(replicas).values(**asdict(replica), expires_at=now + ttl))
            grow(connection)

    def renew(self, ids: Collection[str], *, ttl: float) -> frozenset[str]:
        """Count these as alive for `ttl` seconds more.

        Returns:
            those that could not be renewed, since they ended: they have to be put in anew.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            alive = _alive(connection, now).intersection(ids)
            connection.execute(
                update(replicas).where(replicas.c.id.in_(alive)).values(expires_at=now + ttl)
            )
        return frozenset(ids) - alive

    def drop(self, ids: Collection[str]) -> None:
        """Count these as gone, at once."""
        with writing(self._engine) as connection:
            connection.execute(delete(replicas).where(replicas.c.id.in_(ids)))
            grow(connection)

    def alive(self) -> list[Replica]:
        """Those whose lease has not ended, by id."""
        return self.listed().alive

    def listed(self) -> Listed:
        """Those whose lease has not ended, and those whose lease has."""
        columns = [replicas.c[field.name] for field in fields(Replica)]
        query = select(replicas.c.expires_at, *columns).order_by("id")
        now, listed = self._clock(), Listed([], [])
        with reading(self._engine) as connection:
            for expires_at, *values in connection.execute(query):
                (listed.alive if expires_at > now else listed.lapsed).append(Replica(*values))
        return listed


def _alive(connection: Connection, now: float) -> set[str]:
    return set(connection.scalars(select(replicas.c.id).where(replicas.c.expires_at > now)))
