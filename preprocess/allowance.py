"""What one file may take, and what holds a process to it: see docs/adr/0024.

The numbers by which `decode` refuses a file from its headers, and the kernel's limits
around a decode for whatever the headers do not say. Called by `decode` and `model`.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

#: Beside what the process holds at rest.
MEMORY_BYTES = 250_000_000
#: Of memory, where an operator allows more pixels than are good for the sum above.
BYTES_PER_PIXEL = 6.25
#: Of that, for everything but the pixels and coefficients that headers tell of.
BESIDE_BYTES = 6_000_000
#: For each MiB of a file that was begun.
CPU_SECONDS = 1.0
#: After so many times that the kernel ends the process: its timer counts ticks, and is up to a
#: fifth early where cores are shared. Whoever reads piece by piece has met the limit before.
KERNELS_PATIENCE = 1.25
MIB = 2**20

#: Beside that, before the kernel refuses: what photos before have left in pieces.
PIECES_BYTES = 16 * MIB
#: A block of this size or more goes back to the kernel as soon as it is free, so that a large
#: photo leaves nothing. Other workers keep theirs (see `host.environment`), which most photos
#: gain by as well: at the scale of what a model wants they are smaller.
_LARGE_BLOCK_BYTES = 8 * MIB
_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4
#: Of smaller blocks, so much more than at rest is kept for the next photo.
_KEPT_BYTES = 32 * MIB
_PAGE_BYTES = resource.getpagesize()
_STATM = Path("/proc/self/statm")


def memory_allowed(max_pixels: int) -> int:
    """Bytes that any one file may take."""
    return max(MEMORY_BYTES, int(BYTES_PER_PIXEL * max_pixels))


def cpu_allowed(size_bytes: int, cpu_seconds: float) -> float:
    """Seconds that a file of this size may take.

    Args:
        cpu_seconds: for each MiB that was begun.
    """
    return cpu_seconds * max(1, -(-size_bytes // MIB))


class OutOfTime(Exception):
    """A file has taken more CPU than it may."""


class MeteredFile(BytesIO):
    """A file that ends, and in what, where it is told to.

    Whoever reads on after too much CPU meets `OutOfTime`: most readers go piece by piece.
    """

    def __init__(self, data: bytes, cpu_seconds: float) -> None:
        super().__init__(data)
        self._cpu_end = time.process_time() + cpu_seconds
        self._end = time.monotonic() + cpu_seconds
        self._stop, self._behind = len(data), b""

    def stop_at(self, position: int, behind: bytes = b"") -> None:
        """
        Args:
            position: whose byte and all further ones are not read.
            behind: what is read instead.
        """
        self._stop, self._behind = position, behind

    def read(self, size: int | None = -1, /) -> bytes:
        # No thread takes more CPU than the wall's clock says, which costs less to ask.
        if time.monotonic() > self._end and time.process_time() > self._cpu_end:
            raise OutOfTime
        start = self.tell()
        piece = super().read(size)
        if start + len(piece) <= self._stop:
            return piece
        return piece[: self._stop - start] + self._behind if start <= self._stop else b""


class Limits:
    """Of one process, at rest when this is made."""

    def __init__(self, memory_bytes: int) -> None:
        """
        Args:
            memory_bytes: that a decode may take beside what is held now.
        """
        # glibc alone has these; elsewhere blocks are kept or not, as the library likes.
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", None)
        if self._trim is not None:
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
            libc.mallopt(_M_MMAP_MAX, 65_536)
        self._memory = _taken_bytes() + memory_bytes + PIECES_BYTES
        self._resident = _resident_bytes()

    @contextmanager
    def around(self, cpu_seconds: float) -> Iterator[None]:
        """A decode: past the memory it meets a MemoryError, past the time SIGPROF ends the process.

        A handler in Python would be called when the library returns, which may be never.
        """
        _, hard = before = resource.getrlimit(resource.RLIMIT_DATA)
        most = self._memory if hard == resource.RLIM_INFINITY else min(self._memory, hard)
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
            signal.setitimer(signal.ITIMER_PROF, KERNELS_PATIENCE * cpu_seconds)
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_DATA, before)

    def rest(self) -> None:
        """Gives back what a photo of many small blocks has left."""
        if self._trim is not None and _resident_bytes() > self._resident + _KEPT_BYTES:
            self._trim(0)
            # What stays is at rest from now on: to ask again for each photo would be dear.
            self._resident = max(self._resident, _resident_bytes())


def _taken_bytes() -> int:
    """What counts against RLIMIT_DATA, and the stack."""
    return int(_STATM.read_bytes().split()[5]) * _PAGE_BYTES


def _resident_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
