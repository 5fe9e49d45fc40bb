"""What the registry says, as this coordinator last saw it.

Reads the database in a thread, every so often, and tells the fleet what
changed. Requests only ever look at the snapshot in memory: the database may be
slow or gone, and routing goes on with what is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from coordinator.fleet import Fleet
from coordinator.replica import Place
from model_registry.snapshot import ModelEntry, Snapshot
from wire.tuning import Tuning

log = logging.getLogger("demitasse.coordinator.directory")


class Places(NamedTuple):
    """Where the registry says that minions are."""

    alive: list[Place]
    lapsed: list[Place]
    """Those whose lease has ended, and that were not taken off the list."""


class Registry(Protocol):
    """The part of the model registry that a coordinator reads. Called in a thread."""

    def snapshot(self) -> Snapshot: ...

    def places(self) -> Places: ...


class Directory:
    """Keeps the snapshot and the fleet up to date."""

    def __init__(
        self,
        registry: Registry,
        fleet: Fleet,
        *,
        on_change: Callable[[Snapshot], None],
        poll_interval_seconds: float,
    ) -> None:
        """
        Args:
            on_change: called with every snapshot that is not the one before.
        """
        self._registry = registry
        self._fleet = fleet
        self._on_change = on_change
        self._interval = poll_interval_seconds
        self._refreshing = asyncio.Lock()
        self._places = Places([], [])
        self._snapshot: Snapshot | None = None

    def current(self) -> Snapshot:
        """The models as last seen. There is one once `refresh` has returned."""
        assert self._snapshot is not None
        return self._snapshot

    async def refresh(self) -> Snapshot:
        """Reads the registry now. Returns when the fleet has taken over what changed."""
        async with self._refreshing:
            snapshot = await asyncio.to_thread(self._registry.snapshot)
            places = await asyncio.to_thread(self._registry.places)
            if places != self._places or places.lapsed:
                self._places = places
                self._fleet.update(places.alive, places.lapsed)
            before, self._snapshot = self._snapshot, snapshot
            if before is None or snapshot.revision != before.revision:
                self._fleet.second_attempts.only_once = _only_once(snapshot)
                self._on_change(snapshot)
            for entry in snapshot.models.values():
                await self._tune(entry)
            return snapshot

    async def follow(self) -> None:
        """Refreshes for ever. A database that is away is asked again, and logged once for each
        reason."""
        trouble = ""
        while True:
            await asyncio.sleep(self._interval)
            before, trouble = trouble, ""
            try:
                await self.refresh()
            except Exception as error:
                trouble = str(error).partition("\n")[0] or type(error).__name__
                if trouble != before:
                    log.exception("the registry cannot be read; going on with what is known")

    async def _tune(self, entry: ModelEntry) -> None:
        for version in entry.versions.values():
            await self._fleet.tune(entry.name, version.version, tuning_of(entry, version.version))


def _only_once(snapshot: Snapshot) -> frozenset[tuple[str, str]]:
    """Versions that must not be asked twice for one answer."""
    return frozenset(
        (version.model, version.version)
        for entry in snapshot.models.values()
        for version in entry.versions.values()
        if not version.manifest.pure
    )


def tuning_of(entry: ModelEntry, version: str) -> Tuning:
    """The settings in force for a version, as they travel to its hosts."""
    settings = entry.settings_for(version)
    return Tuning(
        settings.queue_limit,
        settings.max_batch_size,
        settings.max_queue_delay,
        settings.revision,
        settings.promise,
    )
