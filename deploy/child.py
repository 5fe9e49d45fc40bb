"""One process that is kept running: started, watched, started again with growing delays.

Knows a command line and a log file, not what the command does. A child dies
with its supervisor (the children ask the kernel for that) and lives in a
session of its own, so that Ctrl-C reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.logfile import is_long, open_log, put_aside
from minion.host.restarts import RestartDelay, describe_ending, is_stable

#: What a killed process may take to be gone: more than this is the kernel's affair.
KILL_SECONDS = 5.0
#: How often somebody looks how long a log has become.
LOG_SECONDS = 1.0


class Child:
    """Keeps one command running until it is stopped."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        log: Path,
        environment: Mapping[str, str],
        on_start: Callable[[int, int], None],
        on_end: Callable[[str], None],
        inherited: Callable[[int], Sequence[int]] = lambda starts: (),
        keeps_log: bool = True,
    ) -> None:
        """
        Args:
            command: given how often it was started before, the words to execute.
            on_start: called with that number and the process's id.
            on_end: called with how it ended, or why it could not be started, unless
                it was stopped.
            inherited: given the same as `command`, the descriptors that it has under the
                same numbers.
            keeps_log: whether this is who keeps the log short; of several that write into
                one file only one may.
        """
        self.keeps_log = keeps_log
        self._command = command
        self._inherited = inherited
        self._log = log
        self._environment = environment
        self._on_start = on_start
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    @property
    def returncode(self) -> int | None:
        """How it ended last; None while it runs, or never did."""
        return self._process.returncode if self._process is not None else None

    async def keep(self) -> None:
        """Runs the command, again and again; returns once it was stopped."""
        loop = asyncio.get_running_loop()
        delay = RestartDelay()
        self._over.clear()
        try:
            for starts in itertools.count():
                started = loop.time()
                ending = await self._run(starts)
                if self._stopping.is_set():
                    return
                self._on_end(ending)
                proved = is_stable(loop.time() - started)
                if await _is_set(self._stopping, within=delay.after(proved=proved)):
                    return
        finally:
            await self._end()
            self._over.set()

    async def stop(self, grace_seconds: float, number: int = signal.SIGTERM) -> None:
        """This signal, and SIGKILL for what is still there when the grace is over."""
        self._stopping.set()
        self._send(number)
        if not await _is_set(self._over, within=grace_seconds):
            self.kill()
            await _is_set(self._over, within=2 * KILL_SECONDS)

    def kill(self) -> None:
        """Ends it now, and what it started in its own session."""
        self._stopping.set()
        self._kill_group()

    def restart(self) -> None:
        """Ends it now, as `kill` does, to be started again as after any other end."""
        self._kill_group()

    async def _run(self, starts: int) -> str:
        """Starts it and waits for its end; how that was."""
        try:
            process = self._process = await self._start(starts)
        except OSError as error:
            return f"cannot be started: {error}"
        if self._stopping.is_set():  # it was told while the process came to life
            self._send(signal.SIGTERM)
        self._on_start(starts, process.pid)
        trimming = asyncio.create_task(self._keep_log_short())
        try:
            return describe_ending(await process.wait())
        finally:
            trimming.cancel()

    async def _keep_log_short(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # the disk is full: another time
                if self.keeps_log and is_long(self._log):
                    await asyncio.to_thread(put_aside, self._log)
            await asyncio.sleep(LOG_SECONDS)

    async def _start(self, starts: int) -> asyncio.subprocess.Process:
        with open_log(self._log) as log:
            return await asyncio.create_subprocess_exec(
                *self._command(starts),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                start_new_session=True,
                pass_fds=self._inherited(starts),
            )

    async def _end(self) -> None:
        """Nothing of it is left when its keeper goes, however that goes."""
        self.kill()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS):
                    await self._process.wait()

    def _kill_group(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()
