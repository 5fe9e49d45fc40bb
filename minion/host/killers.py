"""Inputs that cost a process, or the memory of one: known by their digest, and not run again.

Pure: the time is an argument. Whoever asks computes a digest only while something is
known, so that a lane in which nothing goes wrong pays nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from wire.errors import Code
from wire.tensor import Tensor

#: A model that is mended is another version, in another process; what failed by bad luck is
#: tried again some time.
KNOWN_SECONDS = 600.0
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


class Killers:
    """What one lane knows of such inputs."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, Code]] = {}  # oldest first
        self.refused: Counter[Code] = Counter()
        """At the door, by what they had been convicted of."""
        self.latest = -math.inf
        """When one was convicted last: whoever came later was looked at when it came."""

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, digest: bytes, code: Code, now: float) -> None:
        """It was convicted of this."""
        self._known.pop(digest, None)
        self._known[digest] = now + KNOWN_SECONDS, code
        self.latest = now
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def recall(self, digest: bytes, now: float) -> Code | None:
        """Of what it was convicted lately."""
        self._forget(now)
        known = self._known.get(digest)
        return None if known is None else known[1]

    def _forget(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known))
            if self._known[oldest][0] > now:
                return
            del self._known[oldest]
