"""What one file may take, and what holds a process to it: see docs/adr/0024.

The numbers by which `decode` refuses a file from its headers, and the kernel's limits
around a decode for whatever the headers do not say. Called by `decode` and `model`.
"""

from __future__ import annotations

import ctypes
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Beside what the process holds at rest.
MEMORY_BYTES = 250_000_000
#: Of memory, where an operator allows more pixels than are good for the sum above.
BYTES_PER_PIXEL = 6.25
#: For each MiB of a file that was begun.
CPU_SECONDS = 1.0
MIB = 2**20

#: So much more than at rest is kept for the next photo; what is above goes back to the kernel.
_KEPT_BYTES = 64 * MIB
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


class Limits:
    """Of one process, at rest when this is made."""

    def __init__(self, memory_bytes: int) -> None:
        """
        Args:
            memory_bytes: that a decode may take beside what is held now.
        """
        self._memory = _taken_bytes() + memory_bytes
        self._resident = _resident_bytes()
        # glibc alone has it.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    @contextmanager
    def around(self, cpu_seconds: float) -> Iterator[None]:
        """A decode: past the memory it meets a MemoryError, past the time SIGPROF ends the process.

        A handler in Python would be called when the library returns, which may be never.
        """
        _, hard = before = resource.getrlimit(resource.RLIMIT_DATA)
        most = self._memory if hard == resource.RLIM_INFINITY else min(self._memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_DATA, before)

    def rest(self) -> None:
        """Gives back what a large photo has left: a worker keeps it, see `host.environment`."""
        if self._trim is not None and _resident_bytes() > self._resident + _KEPT_BYTES:
            self._trim(0)


def _taken_bytes() -> int:
    """What counts against RLIMIT_DATA, and the stack."""
    return int(_STATM.read_bytes().split()[5]) * _PAGE_BYTES


def _resident_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
