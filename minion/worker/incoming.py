"""What a host says to a worker, as it comes; and what a worker does while nothing comes.

A worker keeps the memory that its batches need for the next one (see `host.environment`). Where
none has come for a while, the machine has it back: other models may need it sooner.
"""

from __future__ import annotations

import socket
import struct
from typing import Iterator

from wire.batches import Message, decode
from wire.frames import FrameReader
from wire.heap import give_back_free_pages

#: The next batch pays for its pages again: 10 of 45 CPU ms for a network of ResNet-18's size.
IDLE_SECONDS = 20.0
_READ_BYTES = 256 * 1024


def messages(connection: socket.socket, *, idle_seconds: float = IDLE_SECONDS) -> Iterator[Message]:
    """Until the host's end-of-file.

    Args:
        idle_seconds: after so long without any, what was freed goes back to the kernel.
    """
    reader = FrameReader()
    # One for all: memory of that size for each read would be cut into pieces by what comes after.
    scratch = memoryview(bytearray(_READ_BYTES))
    _wait_at_most(connection, idle_seconds)
    while True:
        try:
            size = connection.recv_into(scratch)
        except BlockingIOError:
            give_back_free_pages()
            _wait_at_most(connection, 0.0)  # for ever
            size = connection.recv_into(scratch)
            _wait_at_most(connection, idle_seconds)
        if not size:
            return
        for frame in reader.feed(bytes(scratch[:size])):
            yield decode(frame)


def _wait_at_most(connection: socket.socket, seconds: float) -> None:
    """By the kernel: Python's own timeouts ask it once more for each read."""
    whole = int(seconds)
    time = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time)
