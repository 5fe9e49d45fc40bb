"""The children of a host: its workers, and what these have started and left behind.

A process that a model starts may leave its group (`setsid`) and its parent
(two forks), and then no signal to the group ends it. A host adopts what descends
from it, and ends whatever has lost its parent whenever a worker ends. Knows
processes by number. Called by `processes`, which starts some, and the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection
from typing import Any

from wire.lifetimes import GradualEnd, adopt_orphans, children, has_dead_child

#: One that the kernel cannot end (it waits for a disk that is gone) is left to it.
_PATIENCE_SECONDS = 5.0


class Children:
    """Which of this process's children are its own, and an end for the others."""

    def __init__(self) -> None:
        self._adopts = False
        self._own: set[int] = set()
        self._starting = 0

    def adopt(self) -> None:
        """This process is nothing but a host: whatever child it has not started is an orphan."""
        adopt_orphans()
        self._adopts = True

    async def start(self, *words: str, **how: Any) -> asyncio.subprocess.Process:
        """`asyncio.create_subprocess_exec`; the process is our own until it is told to `ended`."""
        self._starting += 1
        try:
            process = await asyncio.create_subprocess_exec(*words, **how)
            self._own.add(process.pid)
            return process
        finally:
            self._starting -= 1

    def ended(self, pid: int) -> None:
        self._own.discard(pid)

    def reap(self) -> None:
        """Of orphans that have ended, nothing is left."""
        if not self._starting and has_dead_child():
            self._wait_for(self._orphans())

    async def end_orphans(self) -> None:
        """Returns when there is none, or the kernel does not end them."""
        end = GradualEnd()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._end_orphans(end)
        finally:
            end.finish(self._orphans())

    async def _end_orphans(self, end: GradualEnd) -> None:
        while self._starting or self._orphans():
            orphans = self._orphans()
            end.look(orphans)
            self._wait_for(orphans)
            await asyncio.sleep(GradualEnd.PAUSE_SECONDS)

    def _orphans(self) -> set[int]:
        # One of our own that is just starting cannot be told from them.
        return children() - self._own if self._adopts and not self._starting else set()

    def _wait_for(self, orphans: Collection[int]) -> None:
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
