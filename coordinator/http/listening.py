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
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

#: Connections that wait to be accepted; the kernel has a limit of its own.
BACKLOG = 1024
#: Who waits at two looks in a row at a neighbour's is taken in.
_LOOK_SECONDS = 0.05
#: From one neighbour's per look, so that others get some.
_AT_ONCE = 64

Make = Callable[[], asyncio.BaseProtocol]


class Handed(NamedTuple):
    """Listening sockets of a supervisor, as file descriptors that this process was started with."""

    own: Sequence[int] = ()
    neighbours: Sequence[int] = ()
    """Of the other processes on this port."""


@contextlib.asynccontextmanager
async def listening(
    make: Make, host: str, port: int, handed: Handed | None = None
) -> AsyncIterator[int]:
    """Connections of this kind come, on the port that it gives, while the block lasts.

    Whoever has connected by its end gets in; a moment later nobody listens here. The
    descriptors are closed with the block, too.

    Args:
        handed: in place of host and port.
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
        for server in servers:
            server.close()
        await entrance.close([*listeners, *neighbours])


def _again(fileno: int) -> socket.socket:
    listener = socket.socket(fileno=os.dup(fileno))
    listener.setblocking(False)
    return listener


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
