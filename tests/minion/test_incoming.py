"""What a worker hears, and what it gives back while it hears nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from minion.worker.incoming import messages
from tests.processes import resident_bytes
from tests.waiting import eventually
from wire.batches import BatchFailure

MEGABYTE, PIECE_BYTES = 2**20, 4096
TOLD = BatchFailure(1, "code", "words")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def in_pieces(megabytes: int) -> list[bytes]:
    return [bytes(PIECE_BYTES) for _ in range(megabytes * MEGABYTE // PIECE_BYTES)]


async def test_who_is_not_asked_gives_back_what_it_has_freed_and_hears_what_comes_then(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    heard = messages(theirs, idle_seconds=0.05)
    with ours:  # whoever listens hears of its end, whatever becomes of this
        for _ in range(2):
            pieces = in_pieces(64)
            last = pieces.pop()  # or the end of the heap would shrink by itself
            held = resident_bytes()
            pieces.clear()
            message = asyncio.create_task(asyncio.to_thread(next, heard))

            await eventually(lambda most=held: resident_bytes() < most - 48 * MEGABYTE, "it has")

            for buffer in TOLD.encode():
                ours.sendall(buffer)
            assert (await message, len(last)) == (TOLD, PIECE_BYTES)


async def test_it_is_over_when_the_host_hangs_up_however_long_nobody_asked(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with ours:
        heard = asyncio.to_thread(next, messages(theirs, idle_seconds=0.01), None)
        end = asyncio.create_task(heard)
        assert not (await asyncio.wait([end], timeout=0.1))[0], "it waits on"

    assert await end is None
