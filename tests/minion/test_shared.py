"""A coordinator's memory as a host sees it, and what is refused."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from minion.host.shared import open_shared
from tests.minion.conftest import descriptors
from wire.greetings import Memory

SIZE = 2**16


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """A Unix socket at whose other end this very process is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def memfd(seals: int = fcntl.F_SEAL_SHRINK, size: int = SIZE) -> int:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def opened(peer: socket.socket, descriptor: int, size: int = SIZE) -> memoryview | None:
    try:
        return open_shared(peer, Memory(descriptor, size))
    finally:
        os.close(descriptor)


def test_what_the_other_side_writes_is_seen(peer: socket.socket) -> None:
    descriptor = memfd()
    memory = open_shared(peer, Memory(descriptor, SIZE))
    os.pwrite(descriptor, b"later", 5)
    os.close(descriptor)

    assert memory is not None
    assert len(memory) == SIZE
    assert bytes(memory[5:10]) == b"later"


def test_it_is_looked_at_and_never_written(peer: socket.socket) -> None:
    memory = opened(peer, memfd())

    assert memory is not None
    assert memory.readonly
    with pytest.raises(TypeError):
        memory[0] = 1


def test_no_more_is_seen_than_was_offered(peer: socket.socket) -> None:
    memory = opened(peer, memfd(), SIZE // 2)

    assert memory is not None
    assert len(memory) == SIZE // 2


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW], ids=["no seal", "another seal"])
def test_what_may_shrink_under_a_read_is_refused(peer: socket.socket, seals: int) -> None:
    assert opened(peer, memfd(seals)) is None


@pytest.mark.parametrize("size", [SIZE + 1, 2**62, 2**70])
def test_what_is_smaller_than_was_said_is_refused(peer: socket.socket, size: int) -> None:
    assert opened(peer, memfd(), size) is None


@pytest.mark.parametrize("number", [2**20, 2**70])
def test_a_descriptor_that_there_is_not_is_refused(peer: socket.socket, number: int) -> None:
    assert open_shared(peer, Memory(number, SIZE)) is None


def test_a_file_is_refused(peer: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(SIZE))

    assert opened(peer, os.open(tmp_path / "file", os.O_RDWR)) is None


def test_a_folder_or_a_socket_is_refused(peer: socket.socket, tmp_path: Path) -> None:
    assert opened(peer, os.open(tmp_path, os.O_RDONLY)) is None
    assert open_shared(peer, Memory(peer.fileno(), SIZE)) is None


def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(
    peer: socket.socket, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert opened(peer, os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)) is None


def test_over_tcp_nobody_is_on_this_machine() -> None:
    descriptor = memfd()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        assert opened(connection, descriptor) is None


def test_no_descriptor_is_kept_for_longer_than_the_memory(peer: socket.socket) -> None:
    before = descriptors()
    memory = opened(peer, memfd())
    opened(peer, memfd(0))

    assert memory is not None
    del memory
    assert descriptors() == before


OWNER = """
import os, socket, sys
descriptor = os.memfd_create("owner", os.MFD_ALLOW_SEALING)
os.write(descriptor, b"from another process".ljust(65536))
import fcntl
fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
with socket.socket(socket.AF_UNIX) as link:
    link.connect(sys.argv[1])
    link.sendall(descriptor.to_bytes(4, "little"))
    link.recv(1)
"""


def test_it_is_the_memory_of_who_connected_and_outlives_them(tmp_path: Path) -> None:
    address = str(tmp_path / "host.sock")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(20)
        with subprocess.Popen([sys.executable, "-c", OWNER, address]) as owner:
            link, _ = listener.accept()
            with link:
                link.settimeout(20)
                number = int.from_bytes(link.recv(4), "little")
                memory = open_shared(link, Memory(number, SIZE))
        owner.wait()

    assert memory is not None
    assert bytes(memory).rstrip() == b"from another process"
