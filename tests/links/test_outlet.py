"""links/outlet.py: one write for a turn, heartbeats in silence, and the end of who says nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from links.outlet import Outlet
from tests.waiting import eventually
from wire.heartbeats import Heartbeat

HEARTBEAT = b"".join(bytes(each) for each in Heartbeat().encode())


class Other(asyncio.Protocol):
    """The other end: what it has read, a read at a time, and whether it was hung up on."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.ended = False

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Outlet, Other, list[str]]]:
    """An open outlet, who is at its other end, and a list that tells of silence."""
    told: list[str] = []
    outlet = Outlet(lambda: told.append("silent"))
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    ours, _ = await loop.create_connection(asyncio.Protocol, sock=here)
    theirs, other = await loop.create_connection(Other, sock=there)
    outlet.open(cast(asyncio.Transport, ours))
    try:
        yield outlet, other, told
    finally:
        outlet.end()
        outlet.abort()
        theirs.abort()
        await eventually(lambda: other.ended, "both ends are closed")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("links.outlet.HEARTBEAT_SECONDS", 0.01)


async def test_what_is_sent_in_one_turn_is_one_write() -> None:
    async with connected() as (outlet, other, _):
        outlet.send([b"a", b"b"])
        outlet.send([b"c"])
        assert other.reads == []

        await eventually(lambda: bool(other.reads), "it is read")
        assert other.reads == [b"abc"]


async def test_what_was_sent_before_it_is_closed_arrives() -> None:
    async with connected() as (outlet, other, _):
        outlet.send([b"last"])
        outlet.close()

        await eventually(lambda: other.ended, "it is closed")
        assert other.reads == [b"last"]


@pytest.mark.usefixtures("_quick")
async def test_who_has_nothing_to_say_says_that_it_is_there() -> None:
    async with connected() as (outlet, other, told):
        outlet.watch()
        for _ in range(20):
            outlet.pulse.heard = True
            said = len(other.reads)
            await eventually(lambda said=said: len(other.reads) > said, "it speaks")

        assert set(b"".join(other.reads).split(HEARTBEAT)) == {b""}
        assert not told


@pytest.mark.usefixtures("_quick")
async def test_who_says_nothing_is_hung_up_on() -> None:
    async with connected() as (outlet, other, told):
        outlet.watch()

        await eventually(lambda: other.ended, "it is hung up on")
        assert told == ["silent"]


@pytest.mark.usefixtures("_quick")
async def test_after_the_end_nobody_is_watched() -> None:
    async with connected() as (outlet, other, told):
        outlet.watch()
        outlet.end()

        async with connected() as (another, _, of_another):
            another.watch()
            await eventually(lambda: of_another == ["silent"], "somebody else falls silent")
        assert not told
        assert not other.ended
