"""What holds the event loop for long is done once per turn of it.

A large body that was sent as JSON becomes objects while everybody else waits, 25 milliseconds for a
megabyte of numbers; a megabyte of a photo's digest takes 0.3. Of thirty that are complete at once,
everybody would wait for all of them, links and heartbeats included. Called by whoever
takes a body apart, and for digests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

#: What is shorter takes a millisecond or two.
LARGE_BYTES = 64 * 1024
#: The event loop is what is shared, whoever runs in it.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def own_turn() -> AsyncIterator[None]:
    """The block runs in a turn in which no other such block does; first come, first served."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        try:
            yield
        finally:
            await asyncio.sleep(0)
