"""The memory that a host and one worker share: half for inputs, half for outputs.

Each half has two slots: while one batch runs, the next one's inputs are placed,
and the outputs of the one before are read.

An anonymous file in memory, inherited by the worker as a descriptor, so that
nothing is left behind whoever dies first. Pages cost nothing until touched.
"""

from __future__ import annotations

import mmap
import os

from wire.area import Area, halves, slots
from wire.frames import MAX_EXAMPLE_BYTES

#: One example fits alone, whatever a link takes; 64 photos of 1024 x 1024 are 192 MiB.
MAX_BATCH_BYTES = MAX_EXAMPLE_BYTES
#: Of address space.
ARENA_BYTES = 4 * MAX_BATCH_BYTES


class Arena:
    """One worker's shared memory. Closing it leaves the worker's mapping alone."""

    def __init__(self, size_bytes: int = ARENA_BYTES) -> None:
        self.size_bytes = size_bytes
        self.descriptor = os.memfd_create("demitasse-arena")
        os.ftruncate(self.descriptor, size_bytes)
        self._mapping = mmap.mmap(self.descriptor, size_bytes)
        incoming, outgoing = halves(memoryview(self._mapping))
        self.inputs = slots(incoming)
        self.outputs = Area(outgoing)

    def close(self) -> None:
        os.close(self.descriptor)
        # Arrays may still look at the mapping: it goes with the last of them.
        del self.inputs, self.outputs, self._mapping
