"""Waiting for what happens in another process, and rings no bell."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable

PATIENCE_SECONDS = 60.0


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Until the condition holds, which may have to be awaited. A test that waits longer failed."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < end, f"waited in vain until {what}"
        await asyncio.sleep(0.002)


class Turns:
    """Counts how often the event loop has come round."""

    def __init__(self) -> None:
        self.now = 0
        self._next()

    def _next(self) -> None:
        self.now += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()
