"""Inputs that cost a process, or the memory of one: known by their digest, and not run again.

Pure: the time is an argument. A digest is computed only while something of the same size
is known, so that a lane in which nothing goes wrong pays nothing, and one for photos little.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from wire.errors import Code
from wire.tensor import Tensor

#: A model that is mended is another version, in another process; what failed by bad luck is
#: tried again some time.
KNOWN_SECONDS = 600.0
#: Memory is shared, that of a GPU with whoever else is there: who found none may find some soon.
KNOWN_SHORTLY_SECONDS = 60.0
#: Whoever makes up ever new ones pushes the oldest out.
MAX_KNOWN = 4096

_DIGEST_BYTES = 16
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(inputs: Mapping[str, Tensor], parameters: Mapping[str, Any]) -> bytes:
    """The same for the same names, dtypes, shapes, bytes and parameters, in whatever order."""
    digest = blake2b(_encode(parameters), digest_size=_DIGEST_BYTES)
    for name, tensor in sorted(inputs.items()):
        digest.update(_encode([name, tensor.dtype, tensor.shape]))
        digest.update(tensor.data)
    return digest.digest()


class Known(NamedTuple):
    """One that was convicted."""

    size_bytes: int
    code: Code
    until: float


class Killers:
    """What one lane knows of such inputs."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}  # by digest, oldest first
        self._sizes: Counter[int] = Counter()  # an input of another size needs no digest
        self.refused: Counter[Code] = Counter()
        """At the door, by what they had been convicted of."""
        self.latest = -math.inf
        """When one was convicted last: whoever came later was looked at when it came."""

    def __len__(self) -> int:
        return len(self._known)

    def remember(
        self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Any], code: Code, now: float
    ) -> None:
        """It was convicted of this."""
        digest, size_bytes = digest_of(inputs, parameters), _size_of(inputs)
        if digest in self._known:
            self._drop(digest)
        seconds = KNOWN_SHORTLY_SECONDS if code is Code.OUT_OF_MEMORY else KNOWN_SECONDS
        self._known[digest] = Known(size_bytes, code, now + seconds)
        self._sizes[size_bytes] += 1
        self.latest = now
        if len(self._known) > MAX_KNOWN:
            self._drop(next(iter(self._known)))

    def recall(
        self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Any], now: float
    ) -> Code | None:
        """Of what it was convicted lately."""
        self._forget(now)
        if _size_of(inputs) not in self._sizes:
            return None
        known = self._known.get(digest_of(inputs, parameters))
        return known.code if known is not None and known.until > now else None

    def _forget(self, now: float) -> None:
        while self._known:  # of those behind the oldest one some are over, and forgotten later
            oldest = next(iter(self._known))
            if self._known[oldest].until > now:
                return
            self._drop(oldest)

    def _drop(self, digest: bytes) -> None:
        size_bytes = self._known.pop(digest).size_bytes
        self._sizes[size_bytes] -= 1
        if not self._sizes[size_bytes]:
            del self._sizes[size_bytes]


def _size_of(inputs: Mapping[str, Tensor]) -> int:
    return sum(len(tensor.data) for tensor in inputs.values())
