"""How a caller reads what is written to it: whether fast enough, and what it has not taken yet.

And what of its own has not been taken yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios

from coordinator.http.pace import Pace, Patience

_COUNT = struct.Struct("@i")
_NOTHING = bytes(_COUNT.size)
#: SO_LINGER, on, for no seconds: what is left is dropped, and the other side is told.
_AT_ONCE = struct.pack("@ii", 1, 0)


class Reading:
    """Of one connection."""

    __slots__ = ("_looked", "_pace", "unread", "written")

    def __init__(self, patience: Patience, now: float) -> None:
        self.written = 0
        """Bytes, ever: whoever writes adds to it."""
        self.unread = 0
        """Of which so many had not reached the caller when it was looked at."""
        self._looked = 0  # what had been written by then
        self._pace = Pace(patience.least_per_second, patience.answer, now)

    def kept(self, transport: asyncio.Transport, now: float) -> bool:
        """Looks; whether the caller keeps the pace at which answers are to be read."""
        before, written = self.unread, self.written
        if not before and written == self._looked:
            return True
        self._looked = written
        unread = self.unread = unread_bytes(transport)
        if not unread or not before:
            self._pace.begin(now, written - unread, unread)
        return self._pace.kept(now, written - unread, unread)


def reset(transport: asyncio.Transport) -> None:
    """Hangs up and forgets what was not read, which the kernel would go on offering for minutes."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        with contextlib.suppress(OSError):  # it has gone just now
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def unsent(transport: asyncio.Transport) -> bool:
    """Whether something was written that the caller's side has no room for; also once it was
    told to close, which waits for that."""
    return transport.get_write_buffer_size() > 0


def unseen_bytes(transport: asyncio.Transport) -> int:
    """Bytes of the caller's that the kernel has, and this process has not looked at yet.

    Source: tcp(7), SIOCINQ.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or transport.is_closing():
        return 0
    try:
        return int(_COUNT.unpack(fcntl.ioctl(connection.fileno(), termios.FIONREAD, _NOTHING))[0])
    except OSError:  # it has gone just now
        return 0


def unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes that wait here, in this process and in the kernel, for the caller to take them.

    A small answer to one who reads nothing waits in the kernel alone, megabytes of it
    where the system has them.

    Source: tcp(7), SIOCOUTQ: what has not been sent or not been acknowledged.
    """
    waiting = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is None or transport.is_closing() or sys.platform != "linux":
        return waiting
    try:
        kernel = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, _NOTHING)
    except OSError:  # it has gone just now
        return waiting
    return waiting + int(_COUNT.unpack(kernel)[0])
