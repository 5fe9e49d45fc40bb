"""The results that this coordinator remembers, by itself and with others.

The shell around `cache`: which versions' results last follows the registry,
everything is counted, and where coordinators share a store, it is asked and
told. What is in this process is looked up at once, so that a request which is
answered from it never waits.
"""

from __future__ import annotations

import logging
from typing import Protocol

from coordinator.cache import AccuracyRule, Entry, Key, PhotoFacts, Table
from coordinator.metrics import count_cache_lookup, show_cache
from coordinator.ticket import Prediction
from model_registry.snapshot import Snapshot, Version
from wire.answers import unpack_answer
from wire.errors import WireError

log = logging.getLogger("demitasse.coordinator.results")


class SharedStore(Protocol):
    """What several coordinators remember together. Never raises, and never takes long."""

    async def get(self, key: Key) -> bytes | None: ...

    def put(self, key: Key, data: bytes) -> None:
        """Soon, or not at all."""


class Results:
    """Remembered results of the versions that deserve it."""

    def __init__(
        self, max_bytes: int, rule: AccuracyRule, shared: SharedStore | None = None
    ) -> None:
        """
        Args:
            max_bytes: of this process's own memory; 0 turns everything here off.
        """
        self.on = max_bytes > 0
        self._table = Table(max_bytes)
        self._rule = rule
        self._shared = shared
        self._lasting: frozenset[str] = frozenset()

    def follow(self, snapshot: Snapshot) -> None:
        """From now on, this is what is published. What a better version superseded is dropped."""
        if not self.on:
            return
        before, self._lasting = self._lasting, self._rule.lasting(snapshot)
        if before - self._lasting:
            self._table.keep_only(self._lasting)
            show_cache(self._table.size_bytes, evicted=0)

    def keeps(self, version: Version) -> bool:
        """Whether results of this version are remembered: all that another request pays here."""
        return version.digest in self._lasting

    def lookup(self, version: Version, key: Key) -> Entry | None:
        """What this process remembers. Counted; asks nobody."""
        if not self.keeps(version):
            return None
        data = self._table.get(key)
        count_cache_lookup(version.model, version.version, "miss" if data is None else "hit")
        return None if data is None else Entry.decode(data)

    async def ask_others(self, version: Version, key: Key) -> Entry | None:
        """What the coordinators remember together; soon None where they share nothing."""
        if self._shared is None or not self.keeps(version):
            return None
        data = await self._shared.get(key)
        if data is None or not self.keeps(version):
            return None
        try:
            entry = Entry.decode(data)
            unpack_answer(entry.answer)
        except (ValueError, WireError):
            log.warning("the store that coordinators share holds what none of them wrote")
            return None
        count_cache_lookup(version.model, version.version, "shared-hit")
        self._remember(key, data)
        return entry

    def store(
        self, version: Version, key: Key, prediction: Prediction, photo: PhotoFacts | None = None
    ) -> None:
        """Remembers what was computed, if this version's results are still to be remembered."""
        if not self.keeps(version):
            return
        result = prediction.result
        entry = Entry(result.answer, result.batch_size, prediction.replica, photo)
        data = entry.encode()
        self._remember(key, data)
        if self._shared is not None:
            self._shared.put(key, data)

    def _remember(self, key: Key, data: bytes) -> None:
        evicted = self._table.put(key, data)
        show_cache(self._table.size_bytes, evicted=evicted)
