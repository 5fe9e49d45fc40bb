"""Results that coordinators remember together, in a real Redis: found, away, slow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer
from stage import PATIENCE_SECONDS

from coordinator.cache import PHOTO, key_of
from coordinator.shared_results import SharedResults
from tests.waiting import eventually

KEY = key_of("11" * 32, PHOTO, bytes(32))
OTHER = key_of("22" * 32, PHOTO, bytes(32))
DATA = b"an encoded entry"


@asynccontextmanager
async def sharing(
    url: str, *, up: bool = True, patience_seconds: float = 20.0
) -> AsyncIterator[SharedResults]:
    shared = SharedResults(url, patience_seconds=patience_seconds)
    try:
        if up:
            await eventually(lambda: shared.up, "Redis has answered")
        yield shared
    finally:
        await shared.close()


async def found(shared: SharedResults, data: bytes) -> bool:
    """Whether it is found once it was put, and written, which nobody is told of."""
    shared.put(KEY, data)
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if await shared.get(KEY) == data:
            return True
        await asyncio.sleep(0.002)
    return False


async def test_what_one_coordinator_puts_the_other_finds(redis_server: RedisServer) -> None:
    async with sharing(redis_server.url) as one, sharing(redis_server.url) as other:
        assert await found(one, DATA)

        assert await other.get(KEY) == DATA
        assert await other.get(OTHER) is None


async def test_one_that_is_away_is_a_miss_at_once_and_found_when_it_comes(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.stop()
    async with sharing(redis_server.url, up=False) as shared:
        await eventually(lambda: "is away" in caplog.text, "it is said")
        shared.put(KEY, DATA)
        async with asyncio.timeout(10):  # half of what it would wait for one that is up
            assert await shared.get(KEY) is None

        redis_server.start()
        await eventually(lambda: shared.up, "it is back")

        assert await found(shared, DATA)


async def test_one_that_goes_away_is_noticed_counted_on_and_asked_again(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(redis_server.url) as shared:
        assert await found(shared, DATA)
        redis_server.stop()

        assert await shared.get(KEY) is None
        assert not shared.up

        redis_server.start()
        await eventually(lambda: shared.up, "it is back")
        assert await shared.get(KEY) is None  # it was in memory alone
        assert await found(shared, DATA)
    assert caplog.text.count("treated as empty") == 1


async def test_one_that_stands_still_is_a_miss_for_all_who_ask_and_then_left_alone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(redis_server.url, patience_seconds=2.0) as shared:
        assert await found(shared, DATA)
        with redis_server.stunned():
            together = [shared.get(KEY) for _ in range(50)]
            assert await asyncio.gather(*together) == [None] * 50
            assert not shared.up
            assert await shared.get(KEY) is None
        assert caplog.text.count("treated as empty") == 1

        await eventually(lambda: shared.up, "it is back")
        # No connection is left in the middle of an answer that somebody gave up.
        assert await asyncio.gather(*(shared.get(OTHER) for _ in range(50))) == [None] * 50
        assert await shared.get(KEY) == DATA


async def test_what_cannot_be_written_costs_nobody_else_their_place(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(redis_server.url) as shared:
        shared.put("a key that is no bytes", DATA)  # type: ignore[arg-type]
        await eventually(lambda: "goes on" in caplog.text, "it is said")

        assert await found(shared, DATA)


async def test_a_redis_without_a_bound_is_warned_about(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(redis_server.url) as client:
        await client.config_set("maxmemory", 0)
    async with sharing(redis_server.url):
        assert "set its maxmemory" in caplog.text


async def test_one_that_is_bounded_is_no_news(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with sharing(redis_server.url):
        assert not caplog.text
