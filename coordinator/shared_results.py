"""Results that several coordinators remember together, in a Redis.

Nobody ever waits long for it. A Redis that does not answer in time is a miss,
and is asked nothing more until it has answered in the background; writing is
left to a task of its own. What Redis holds
is bounded by its own `maxmemory`, and what no coordinator asks for any more
goes when room is needed: it is warned about where it is not set up so.

Imported only where a URL is configured: the client takes 5 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from coordinator.cache import Key
from coordinator.metrics import count_store_failure

log = logging.getLogger("demitasse.coordinator.shared_results")

#: For what no request waits for: a connection, a ping, a write.
BACKGROUND_PATIENCE_SECONDS = 2.0
RETRY_SECONDS = 1.0
LOG_SECONDS = 60.0
MAX_CONNECTIONS = 16
#: Results that wait to be written. They are in this process's own table as well.
MAX_UNWRITTEN = 256
#: Grows when the form below changes, so that coordinators of two releases may share a Redis.
_PREFIX = b"demitasse:result:1:"

_TROUBLE = (RedisError, OSError, TimeoutError)


class SharedResults:
    """Encoded entries in one Redis, which may be away now and come later. Close it at the end."""

    def __init__(self, url: str, *, patience_seconds: float) -> None:
        """
        Args:
            patience_seconds: what a request waits at most.

        Raises:
            ValueError: the URL is none of Redis.
        """
        self._redis = _client(url)
        self._patience = patience_seconds
        self._up = False
        self._trouble = asyncio.Event()
        self._unwritten: asyncio.Queue[tuple[Key, bytes]] = asyncio.Queue(MAX_UNWRITTEN)
        self._said = -LOG_SECONDS
        loop = asyncio.get_running_loop()
        works = (self._stay_in_touch, self._write)
        self._tasks = [loop.create_task(self._go_on(work)) for work in works]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._redis.aclose()

    @property
    def up(self) -> bool:
        """Whether it is asked at all: it has answered, and not failed since."""
        return self._up

    async def get(self, key: Key) -> bytes | None:
        """What is remembered there; None where nothing is, or where it is away or too slow."""
        if not self._up:
            return None
        try:
            async with asyncio.timeout(self._patience):
                found = await self._redis.get(_PREFIX + key)
            return found if isinstance(found, bytes) else None
        except _TROUBLE as error:
            self._failed(error)
        return None

    def put(self, key: Key, data: bytes) -> None:
        """Written soon; not at all where it is away, or so slow that too many wait already."""
        if self._up:
            with contextlib.suppress(asyncio.QueueFull):
                self._unwritten.put_nowait((key, data))

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """For as long as this lives, whatever else than trouble with Redis comes between."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("work with the shared Redis failed, and goes on")
                await asyncio.sleep(RETRY_SECONDS)

    async def _write(self) -> None:
        while True:
            key, data = await self._unwritten.get()
            try:
                async with asyncio.timeout(BACKGROUND_PATIENCE_SECONDS):
                    await self._redis.set(_PREFIX + key, data)
            except _TROUBLE as error:
                self._failed(error)

    async def _stay_in_touch(self) -> None:
        while True:
            await self._answered()
            self._trouble.clear()
            self._up = True
            log.info("the shared Redis answers")
            await self._trouble.wait()
            # One that is merely slow is let be for a while, too: it would be so again.
            await asyncio.sleep(RETRY_SECONDS)
            # After a restart all connections are dead, and each would be found out by a request.
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def _answered(self) -> None:
        """Returns when it has."""
        while True:
            try:
                async with asyncio.timeout(BACKGROUND_PATIENCE_SECONDS):
                    memory = await self._redis.info("memory")
            except _TROUBLE as error:
                self._complain("is away, and treated as empty", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._warn_unless_bounded(memory)
                return

    def _failed(self, error: Exception) -> None:
        count_store_failure()
        self._complain("does not answer in time, and is treated as empty", error)
        self._up = False
        self._trouble.set()

    def _complain(self, words: str, error: Exception) -> None:
        if time.monotonic() - self._said >= LOG_SECONDS:
            self._said = time.monotonic()
            log.warning("the shared Redis %s: %s", words, str(error) or type(error).__name__)

    def _warn_unless_bounded(self, memory: dict[str, Any]) -> None:
        if not memory.get("maxmemory") or memory.get("maxmemory_policy") == "noeviction":
            log.warning(
                "the shared Redis is not bounded: set its maxmemory, "
                "and its maxmemory-policy to allkeys-lru"
            )


def _client(url: str) -> Redis:
    """Without retries and limits of its own: how long anything takes is limited above."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
