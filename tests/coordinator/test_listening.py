"""Sockets that outlive the process which serves them; neighbours look after each other's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from coordinator.http.listening import Handed, listening

HOST = "127.0.0.1"


class Greeter(asyncio.Protocol):
    """Says hello, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


class Echo(asyncio.Protocol):
    """Says back what it heard first, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)
        self._transport.close()


@pytest.fixture
def own() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener


@pytest.fixture
def neighbour() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener


def handed(own: socket.socket, *neighbours: socket.socket) -> Handed:
    """As a process is that inherits them: with descriptors of its own."""
    return Handed([os.dup(own.fileno())], [os.dup(each.fileno()) for each in neighbours])


async def greeting(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    async with asyncio.timeout(20):
        return await asyncio.get_running_loop().sock_recv(connection, 100)


async def test_on_a_handed_socket_connections_are_taken_and_it_stays_open(
    own: socket.socket,
) -> None:
    for _ in range(2):
        async with listening(Greeter, HOST, 0, handed(own)) as port:
            assert port == own.getsockname()[1]
            with socket.create_connection(own.getsockname()) as caller:
                assert await greeting(caller) == b"hello"

    with closing(socket.create_connection(own.getsockname())):
        pass  # nobody serves it, and nobody is refused


async def test_who_connected_while_nobody_served_the_socket_is_taken(own: socket.socket) -> None:
    with socket.create_connection(own.getsockname()) as caller:
        async with listening(Greeter, HOST, 0, handed(own)):
            assert await greeting(caller) == b"hello"


async def test_who_waits_at_a_neighbours_socket_is_taken_in(
    own: socket.socket, neighbour: socket.socket
) -> None:
    async with listening(Greeter, HOST, 0, handed(own, neighbour)):
        callers = [socket.create_connection(neighbour.getsockname()) for _ in range(3)]
        assert [await greeting(each) for each in callers] == [b"hello"] * 3
        for each in callers:
            each.close()


@pytest.mark.parametrize("at", ["own", "neighbour"])
async def test_who_has_connected_by_the_end_is_taken_in(
    own: socket.socket, neighbour: socket.socket, at: str
) -> None:
    where = {"own": own, "neighbour": neighbour}[at].getsockname()
    async with listening(Greeter, HOST, 0, handed(own, neighbour)):
        caller = socket.create_connection(where)  # the loop has no turn before the end

    assert await greeting(caller) == b"hello"
    caller.close()


async def test_who_begins_to_connect_when_a_socket_is_closed_for_good_is_refused_and_not_cut_off(
    own: socket.socket,
) -> None:
    loop = asyncio.get_running_loop()
    block = listening(Greeter, HOST, 0, handed(own), for_good=lambda: True)
    await block.__aenter__()
    closing = loop.create_task(block.__aexit__(None, None, None))
    await asyncio.sleep(0)  # it has begun to close
    with socket.socket() as caller:
        caller.setblocking(False)
        connecting = loop.create_task(loop.sock_connect(caller, own.getsockname()))
        await asyncio.sleep(0)  # it has asked
        await closing
        own.close()

        with pytest.raises(ConnectionRefusedError):  # at its second attempt
            await asyncio.wait_for(connecting, 20)


async def test_who_has_connected_when_a_socket_is_closed_for_good_is_taken_in_and_heard(
    own: socket.socket,
) -> None:
    async with listening(Echo, HOST, 0, handed(own), for_good=lambda: True):
        caller = socket.create_connection(own.getsockname())
    own.close()

    caller.sendall(b"are you there?")
    assert await greeting(caller) == b"are you there?"
    caller.close()


async def test_without_a_supervisor_nobody_listens_afterwards() -> None:
    async with listening(Greeter, HOST, 0) as port:
        with socket.create_connection((HOST, port)) as caller:
            assert await greeting(caller) == b"hello"

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
