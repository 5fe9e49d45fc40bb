"""The threads of an event loop that wait for disks, all there from the beginning.

Python's own pool starts them one by one, whenever all are taken for a moment: hours later a
process has one more than it ever had. Called by coordinators, hosts and supervisors.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor


async def start_threads(count: int) -> None:
    """What is called by `asyncio.to_thread` in this loop runs in so many threads, which are there.

    Raises:
        RuntimeError: the system gives no more of them.
    """
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(count)
    loop.set_default_executor(pool)
    all_there = threading.Barrier(count)
    try:
        await asyncio.gather(*(loop.run_in_executor(pool, all_there.wait) for _ in range(count)))
    except BaseException:
        all_there.abort()  # nobody waits for ever for one that could not be started
        raise
