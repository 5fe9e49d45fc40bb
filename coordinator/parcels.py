"""Memory that a coordinator shares with the hosts on its machine, cut into parcels.

What a model is to see is received, or copied once, into a parcel; over the link
goes only where it lies. A parcel is a view of the memory, and goes back when the
last view of it is gone. The memory is an anonymous file, sealed so that it can
never shrink under a host that reads it; hosts open it by the descriptor's
number, and nothing is left behind whoever dies first. Pages cost nothing until
touched.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any

import numpy as np

from wire.tensor import Buffer

#: Of address space. Past it, tensors travel over the link.
SHARED_BYTES = 256 * 2**20
#: Less is cheaper to send than to place: a system call either way, and a copy of microseconds.
MIN_PARCEL_BYTES = 16 * 2**10


class Parcels:
    """Takes pieces from the memory and has them back. Sizes are rounded up to powers of two,
    and a piece that came back serves the next of its size: its pages are there already.
    A larger one serves where nothing is left to cut."""

    def __init__(self, size_bytes: int = SHARED_BYTES) -> None:
        self.size_bytes = size_bytes
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self.descriptor = os.memfd_create("demitasse-parcels", flags)
        os.ftruncate(self.descriptor, size_bytes)
        fcntl.fcntl(
            self.descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        self._mapping = mmap.mmap(self.descriptor, size_bytes)
        self._start = _address(self._mapping)
        self._free: dict[int, list[int]] = {}  # by room
        self._cut = 0
        self._takes = self._looked = 0
        self.taken = 0
        """Pieces that somebody has."""

    def take(self, size_bytes: int) -> memoryview | None:
        """A piece of this size, or None where there is no room for it."""
        room = max(MIN_PARCEL_BYTES, 1 << (size_bytes - 1).bit_length())
        if self._free.get(room):
            offset = self._free[room].pop()
        elif self._cut + room <= self.size_bytes:
            offset = self._cut
            self._cut += room
        else:
            # A copy: pieces come back from other threads as well.
            larger = [each for each, free in list(self._free.items()) if each > room and free]
            if not larger:
                return None
            room = min(larger)
            offset = self._free[room].pop()
        self.taken += 1
        self._takes += 1
        piece = _Piece((size_bytes,), np.uint8, self._mapping, offset)
        piece.parcels, piece.offset, piece.room = self, offset, room
        return piece.data

    def place_of(self, data: Buffer) -> int | None:
        """Where in the memory these bytes lie; None where they lie elsewhere."""
        piece = getattr(data, "obj", None)
        if not isinstance(piece, _Piece) or piece.parcels is not self:
            return None
        return _address(data) - self._start

    def trim(self) -> None:
        """Gives all pages back to the system, if nobody has had a piece since the last call."""
        if self._cut and not self.taken and self._takes == self._looked:
            self._mapping.madvise(mmap.MADV_REMOVE, 0, self._cut)
            self._free.clear()
            self._cut = 0
        self._looked = self._takes

    def close(self) -> None:
        """Whoever still has a piece keeps the memory alive: it goes with the last of them."""
        os.close(self.descriptor)

    def _come_back(self, offset: int, room: int) -> None:
        """In any thread, and in the middle of anything: it is taken until it is free, or `trim`
        would give it away twice."""
        self._free.setdefault(room, []).append(offset)
        self.taken -= 1


class _Piece(np.ndarray[Any, np.dtype[np.uint8]]):
    """What the views of one parcel keep alive. Only memoryviews of it are handed out."""

    parcels: Parcels
    offset: int
    room: int

    def __del__(self) -> None:
        self.parcels._come_back(self.offset, self.room)


def _address(data: Any) -> int:
    address: int = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return address
