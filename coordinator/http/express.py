"""The express lane: plain requests for one model, answered by calls alone.

What the connections of one listener share is here: which requests are taken,
and for which version, the memory that is read into, and a look, every so often,
at all who wait. How bytes come and go is for `connection`, what is asked and answered for
`exchange`. Why there are two roads, and what each costs: `docs/adr/0006`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from coordinator.analysis import Analysis
from coordinator.errors import DemitasseError
from coordinator.http import media_types
from coordinator.http.body import PayloadLimits
from coordinator.http.complaints import Complaints
from coordinator.http.doors import Doors
from coordinator.http.ending import Inside
from coordinator.http.head import Callers, Timeouts
from coordinator.http.lookout import Lookable, Lookout
from coordinator.http.pace import Patience
from coordinator.http.plain import PlainHead, PlainHeads, stamp
from coordinator.metrics import flush
from coordinator.records import Records
from coordinator.router import ModelRef, resolve
from model_registry.snapshot import Snapshot, Version

#: Of a read that looks for a head. What follows of a large body is received in its own place.
_READ_BYTES = 16 * 1024
#: Of connections that are told that there are too many, so that they get to read it.
_TURNED_AWAY = 256


class OpenConnection(Inside, Lookable, Protocol):
    """A `connection`, as far as all of them are looked after."""


class Express:
    """What the connections of one listener share."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        analysis: Analysis,
        limits: PayloadLimits,
        timeouts: Timeouts,
        callers: Callers,
        patience: Patience,
        doors: Doors,
        records: Records,
        aiohttp: Callable[[], asyncio.Protocol],
    ) -> None:
        """
        Args:
            snapshot: the models as last seen.
            doors: whom a connection asks when it is made; who takes one over asks again.
            records: told of every request that ends here.
            aiohttp: makes the protocol that a connection is handed over to.
        """
        self.analysis = analysis
        self.limits = limits
        self.timeouts = timeouts
        self.callers = callers
        self.patience = patience
        self.doors = doors
        self.records = records
        self.aiohttp = aiohttp
        self.complaints = Complaints()
        self.heads = PlainHeads()
        self.scratch = memoryview(bytearray(_READ_BYTES))
        """What is read by whoever reads now; nobody keeps a view of it."""
        self.stamp = ""
        self._snapshot = snapshot
        self._resolved_in: Snapshot | None = None
        self._resolved: dict[ModelRef, Version] = {}
        self._max_number_bytes = min(limits.max_json_bytes, limits.max_body_bytes)
        self._lookout: Lookout[OpenConnection] = Lookout(patience.look_seconds, self._refresh)
        self.connections = self._lookout.connections
        self.outside = 0
        """Of those, how many are here to be told that there are too many."""

    def takes(self, head: PlainHead) -> bool:
        """Whether such a body is read here. Where not, aiohttp's road says why, or reads it."""
        if head.media_type in media_types.NUMBERS:
            return head.length <= self._max_number_bytes
        if head.media_type == media_types.BYTES:
            return head.length <= self.limits.max_body_bytes
        if media_types.is_photo(head.media_type):
            return head.length <= self.limits.max_image_bytes and self._takes_photos(head)
        return False

    def _takes_photos(self, head: PlainHead) -> bool:
        try:
            return self.version(head).manifest.takes_photo
        except DemitasseError:
            return False

    def version(self, head: PlainHead) -> Version:
        """The version that is asked. Raises NotFound."""
        snapshot = self._snapshot()
        if snapshot is not self._resolved_in:
            self._resolved_in, self._resolved = snapshot, {}
        version = self._resolved.get(head.ref)
        if version is None:  # what is kept is no more than what is published
            version = self._resolved[head.ref] = resolve(snapshot, head.ref)
        return version

    def close(self) -> None:
        """Hangs up on whoever is left."""
        for connection in list(self.connections):
            connection.abort()
        self._lookout.stop()

    @property
    def has_time_to_refuse(self) -> bool:
        """Whether one more who cannot come in is told so, and waited for while it reads that."""
        return self.outside <= _TURNED_AWAY

    def left(self, connection: OpenConnection) -> None:
        """It was closed, or handed over."""
        self.connections.discard(connection)

    def _refresh(self) -> None:
        """What need not be done for every request."""
        self.stamp = stamp()
        flush()
