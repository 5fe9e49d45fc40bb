"""The memory that a coordinator on this machine shares: looked at, never written.

A coordinator says the number of a descriptor of its own; the kernel says who
it is. Only what can never shrink is mapped: a page that went away under a read
would end the host.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket

from wire.credentials import peer_of
from wire.greetings import Memory

#: Without blocking: what is named by mistake may be a pipe, whose other end nobody opens.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def open_shared(peer: socket.socket, memory: Memory) -> memoryview | None:
    """The memory of whoever is at the other end, read-only.

    Returns:
        None where it cannot be had, or is not sealed: tensors then travel over the link.
    """
    if peer.family != socket.AF_UNIX:
        return None
    pid, _ = peer_of(peer)
    try:
        descriptor = os.open(f"/proc/{pid}/fd/{memory.descriptor}", _FLAGS)
    except OSError:  # of another user, or out of sight in a container of its own
        return None
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        if not sealed or os.fstat(descriptor).st_size < memory.size_bytes:
            return None
        return memoryview(mmap.mmap(descriptor, memory.size_bytes, prot=mmap.PROT_READ))
    except (OSError, ValueError):  # no file that can be sealed, or nothing to map
        return None
    finally:
        os.close(descriptor)
