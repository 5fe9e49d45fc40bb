"""One process that is kept running: started, watched, started again with growing delays.

Knows a command line and a log file, not what the command does. A child dies
with its supervisor (the children ask the kernel for that) and lives in a
session of its own, so that Ctrl-C reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

FIRST_RESTART_DELAY_SECONDS = 0.1
LAST_RESTART_DELAY_SECONDS = 30.0
#: A child that ran this long had nothing wrong with its start: the delay begins anew.
STABLE_AFTER_SECONDS = 10.0
#: A log that is longer when its process starts is kept as `.1`, and begun anew.
MAX_LOG_BYTES = 16 * 2**20


class Child:
    """Keeps one command running until it is stopped."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        log: Path,
        environment: Mapping[str, str],
        on_start: Callable[[int, int], None],
        on_end: Callable[[int], None],
    ) -> None:
        """
        Args:
            command: given how often it was started before, the words to execute.
            on_start: called with that number and the process's id.
            on_end: called with the exit status, unless it was stopped.
        """
        self._command = command
        self._log = log
        self._environment = environment
        self._on_start = on_start
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def keep(self) -> None:
        """Runs the command, again and again; returns once it was stopped."""
        loop = asyncio.get_running_loop()
        delay = FIRST_RESTART_DELAY_SECONDS
        starts = 0
        while not self._stopping:
            started = loop.time()
            self._process = await self._start(starts)
            self._on_start(starts, self._process.pid)
            status = await self._process.wait()
            if self._stopping:
                return
            self._on_end(status)
            if loop.time() - started > STABLE_AFTER_SECONDS:
                delay = FIRST_RESTART_DELAY_SECONDS
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RESTART_DELAY_SECONDS)
            starts += 1

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL for what is still there when the grace is over."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(grace_seconds):
                await process.wait()
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """Ends it now, and whatever it started."""
        self._stopping = True
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _start(self, starts: int) -> asyncio.subprocess.Process:
        with _open_log(self._log) as log:
            return await asyncio.create_subprocess_exec(
                *self._command(starts),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                start_new_session=True,
            )


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[int]:
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
