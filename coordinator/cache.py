"""Which results are remembered, under which keys, and in how many bytes.

Rules and a table, as plain code: the accuracy rule over a snapshot of the
registry, keys made of a version's digest and an input's, and a table that
forgets what was asked for longest ago. No clock, no socket, no await.
`results` is the shell around it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import NamedTuple, NewType

import msgspec

from model_registry.snapshot import ModelEntry, Snapshot, Version
from wire.answers import Answer
from wire.errors import WireError
from wire.tensor import Tensor

Key = NewType("Key", bytes)
"""What is equal for identical bytes sent to an identical version."""

PHOTO = "photo"
"""The kind of a key whose input is an image file, as opposed to a body of that media type."""

#: Of a key, its place in the table, and the head of the bytes: up to 330 by tracemalloc, CPython
#: 3.11, 2026-11-21. tests/coordinator/test_cache.py holds the table to its bound.
ENTRY_OVERHEAD_BYTES = 400

_VERSION_BYTES = 32
#: Accuracies are written in decimal: 0.81 + 0.01 has to be reached by 0.82.
_ROUNDING = 1e-9


class AccuracyRule(NamedTuple):
    """When results of a version are worth remembering."""

    minimum: float
    """Below this recorded accuracy, or without one, nothing is."""
    step: float
    """A version is superseded once another of its model is more accurate by this much."""

    def lasting(self, snapshot: Snapshot) -> frozenset[str]:
        """The digests of all versions whose results are remembered."""
        return frozenset(
            version.digest
            for entry in snapshot.models.values()
            for version in entry.versions.values()
            if self._lasts(version, entry)
        )

    def _lasts(self, version: Version, entry: ModelEntry) -> bool:
        accuracy = version.manifest.accuracy
        if not version.manifest.pure or accuracy is None or accuracy < self.minimum:
            return False
        superseding = accuracy + self.step - _ROUNDING
        return not any(
            other is not version and (other.manifest.accuracy or 0.0) >= superseding
            for other in entry.versions.values()
        )


def key_of(version_digest: str, kind: str, input_digest: bytes) -> Key:
    """The key of an input to a version.

    Args:
        version_digest: SHA-256 in hexadecimal, as the registry has it.
        kind: `PHOTO`, or the media type of a body: the same bytes mean another input in each.
        input_digest: of fixed length, so that no two keys run into each other.
    """
    return Key(bytes.fromhex(version_digest) + input_digest + kind.encode())


class PhotoFacts(NamedTuple):
    """What the image tier says of a file, beside its pixels."""

    width: int
    height: int
    format: str


class Entry(NamedTuple):
    """A result that is remembered: the answer, and where it came from."""

    answer: Answer
    batch_size: int
    replica: str
    photo: PhotoFacts | None

    def encode(self) -> bytes:
        """As it lies in memory or with others: what came over a link is a view of much more."""
        tensors = [(each.dtype, each.shape, each.data) for each in self.answer.tensors]
        data = _encode((self.answer.packed, tensors, self.batch_size, self.replica, self.photo))
        return memoryview(data).tobytes()  # msgspec's own has up to twice its length allocated

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """The entry in these bytes.

        Raises:
            ValueError: there is none.
        """
        packed, tensors, batch_size, replica, photo = _decode(data)
        try:
            answer = Answer(packed, [Tensor.checked(*each) for each in tensors])
        except WireError as error:
            raise ValueError(str(error)) from error
        return cls(answer, batch_size, replica, None if photo is None else PhotoFacts(*photo))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(
    tuple[
        bytes,
        list[tuple[str, tuple[int, ...], bytes]],
        int,
        str,
        tuple[int, int, str] | None,
    ]
).decode


class Table:
    """Encoded entries by key, at most so many bytes: what was asked for longest ago makes room.

    Encoded, since then their size is known, and the garbage collector has nothing to look
    through: as objects each was four that it keeps track of.
    """

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> bytes | None:
        data = self._entries.get(key)
        if data is not None:
            self._entries.move_to_end(key)
        return data

    def put(self, key: Key, data: bytes) -> int:
        """Remembers this, unless it alone is above the bound; how many had to make room."""
        self._forget(key)
        size = len(data) + ENTRY_OVERHEAD_BYTES
        if size > self._max_bytes:
            return 0
        self._entries[key] = data
        self.size_bytes += size
        evicted = 0
        while self.size_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.size_bytes -= len(oldest) + ENTRY_OVERHEAD_BYTES
            evicted += 1
        return evicted

    def keep_only(self, version_digests: Collection[str]) -> None:
        """Forgets every entry of any other version."""
        kept = {bytes.fromhex(digest) for digest in version_digests}
        for key in [key for key in self._entries if key[:_VERSION_BYTES] not in kept]:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        data = self._entries.pop(key, None)
        if data is not None:
            self.size_bytes -= len(data) + ENTRY_OVERHEAD_BYTES
