"""Where connections come from: a port of this process, or sockets that its supervisor keeps open.

Each of several processes on one port has a socket of its own, over which the
kernel spreads connections. A supervisor's sockets outlive the process: who
connects while there is none waits for the next, and is not refused. Meanwhile
neighbours look after each other's sockets, and take whoever has waited there
for longer than a process that lives and is not overloaded lets anybody wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

#: Connections that wait to be accepted; the kernel has a limit of its own.
BACKLOG = 1024
#: Who waits at two looks in a row at a neighbour's is taken in.
_LOOK_SECONDS = 0.05
#: From one neighbour's per look, so that others get some.
_AT_ONCE = 64

#: `asm-generic/socket.h`, and a program as in `linux/filter.h`, over a segment from its TCP
#: header on: of the flags, in byte 13, are SYN and ACK just SYN? Then none of it is let through.
_SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte
    (0x54, 0, 0, 0x12),  # and
    (0x15, 0, 1, 0x02),  # equal, or one further
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)
#: Before a socket is closed for good, for those who have begun to connect: a round trip and more.
_HANDSHAKE_SECONDS = 0.05

Make = Callable[[], asyncio.BaseProtocol]


class Handed(NamedTuple):
    """Listening sockets of a supervisor, as file descriptors that this process was started with."""

    own: Sequence[int] = ()
    neighbours: Sequence[int] = ()
    """Of the other processes on this port."""


@contextlib.asynccontextmanager
async def listening(
    make: Make,
    host: str,
    port: int,
    handed: Handed | None = None,
    *,
    for_good: Callable[[], bool] = lambda: False,
) -> AsyncIterator[int]:
    """Connections of this kind come, on the port that it gives, while the block lasts.

    Whoever has connected by its end gets in; a moment later nobody listens here. The
    descriptors are closed with the block, too.

    Args:
        handed: in place of host and port.
        for_good: asked at the end whether nobody else has, or will have, the handed sockets.
    """
    loop = asyncio.get_running_loop()
    if handed is None:
        servers = [await loop.create_server(make, host, port, reuse_port=True, backlog=BACKLOG)]
        neighbours = []
    else:
        own = [socket.socket(fileno=each) for each in handed.own]
        servers = [await loop.create_server(make, sock=each, backlog=BACKLOG) for each in own]
        neighbours = [socket.socket(fileno=each) for each in handed.neighbours]
    # The loop's sockets cannot be asked who waits there, once it was told to accept no more.
    listeners = [_again(each.fileno()) for server in servers for each in server.sockets]
    entrance = _Entrance(make, neighbours)
    try:
        yield listeners[0].getsockname()[1]
    finally:
        closing = [*listeners, *neighbours]
        if handed is None or for_good():
            for each in closing:
                _admit_nobody_new(each)
            await asyncio.sleep(_HANDSHAKE_SECONDS)
        for server in servers:
            server.close()
        await entrance.close(closing)


def _again(fileno: int) -> socket.socket:
    listener = socket.socket(fileno=os.dup(fileno))
    listener.setblocking(False)
    return listener


def _admit_nobody_new(listener: socket.socket) -> None:
    """From now on the kernel overhears who begins to connect; the others' handshakes end.

    Who connected between the last accept and the close would be reset. One who is not heard
    tries again after a second, and is refused then, or finds whoever came instead.
    """
    program = b"".join(struct.pack("=HBBI", *each) for each in _NO_SYN)
    memory = ctypes.create_string_buffer(program)
    filter = struct.pack("@HP", len(_NO_SYN), ctypes.addressof(memory))
    with contextlib.suppress(OSError):  # then there are some microseconds
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter)


class _Entrance:
    """Accepts what the loop does not: on neighbours' sockets, and when all are closed."""

    def __init__(self, make: Make, neighbours: Sequence[socket.socket]) -> None:
        self._make = make
        self._neighbours = neighbours
        self._waiting: set[int] = set()  # sockets where somebody waited at the last look
        self._poll = select.poll()
        self._coming: set[asyncio.Task[object]] = set()
        self._next: asyncio.Handle | None = None
        for each in neighbours:
            each.setblocking(False)
            self._poll.register(each, select.POLLIN)
        if neighbours:
            self._look()

    async def close(self, listeners: Sequence[socket.socket]) -> None:
        """Lets in who waits at each, and closes it."""
        if self._next is not None:
            self._next.cancel()
        for each in listeners:
            self._take(each)
            each.close()
        if self._coming:
            await asyncio.wait(self._coming)

    def _look(self) -> None:
        self._next = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        waiting = {number for number, _ in self._poll.poll(0)}
        for each in self._neighbours:
            if each.fileno() in waiting & self._waiting:
                self._take(each, _AT_ONCE)
        self._waiting = waiting

    def _take(self, listener: socket.socket, most: int = BACKLOG) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(most):
            try:
                connection, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:  # nobody waits any more, or there are as many files as may be open
                return
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(self._make, connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)
