"""Threads that are there before anybody needs them."""

from __future__ import annotations

import asyncio
import threading

from wire.threads import start_threads


async def test_all_are_there_from_the_beginning_and_no_more_come() -> None:
    before = threading.active_count()

    await start_threads(3)

    assert threading.active_count() == before + 3
    names = await asyncio.gather(
        *(asyncio.to_thread(lambda: threading.current_thread().name) for _ in range(50))
    )
    assert len(set(names)) <= 3
    assert threading.active_count() == before + 3
