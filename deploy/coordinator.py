"""One coordinator process as its supervisor sees it: kept running, and what is known of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client.multiprocess import mark_process_dead

from coordinator.http.ending import READY, UNFINISHED
from deploy.child import Child

#: For a process to end when it has answered everybody.
_END_SECONDS = 1.0


class Terms(NamedTuple):
    """What one coordinator is started with, and another of its slot perhaps not."""

    environment: Mapping[str, str]
    lame_duck_seconds: float
    drain_seconds: float


class Post(NamedTuple):
    """What every coordinator of one slot is started with."""

    log: Path
    words: Sequence[str]
    sockets: Sequence[int]
    """Descriptors that the words speak of."""
    changed: Callable[[], None]


class Coordinator:
    """Started again whenever it ends, until it is told to go."""

    def __init__(self, post: Post, terms: Terms, *, successor: bool = False) -> None:
        """
        Args:
            successor: another one is there yet: the first start of this one takes no
                connections before it is ready, and `ready` tells.
        """
        self.state, self.detail = "starting", ""
        self._said_ready = False
        self._has_ended = False
        self._was_there = False
        """When it was told to go: whether there was a process that might have had requests."""
        self._changed = post.changed
        self._terms = terms
        self._metrics = terms.environment.get("PROMETHEUS_MULTIPROC_DIR")
        self._last_pid = 0
        self._reads: int | None = None
        self._writes: int | None = None
        if successor:
            self._reads, self._writes = os.pipe()
        self._child = Child(
            lambda starts: [
                *(sys.executable, "-P", "-m", "coordinator"),
                *("--parent-pid", str(os.getpid())),
                *(() if starts or self._writes is None else ("--successor", str(self._writes))),
                *post.words,
            ],
            log=post.log,
            environment=terms.environment,
            on_start=self._started,
            on_end=self._ended,
            inherited=lambda starts: [
                *post.sockets,
                *(() if starts or self._writes is None else (self._writes,)),
            ],
            keeps_log=not successor,
        )
        self._keeping = asyncio.get_running_loop().create_task(self._child.keep())

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def is_ready(self) -> bool:
        """Of a successor: whether it has said so, and runs since."""
        return self._said_ready and not self._has_ended

    @property
    def left_unfinished(self) -> bool:
        """Whether it ended with requests in progress."""
        return self._was_there and self._child.returncode in (UNFINISHED, -signal.SIGKILL)

    async def ready(self, within_seconds: float) -> str:
        """Of a successor: nothing once it takes connections, else why it is not in time."""
        assert self._reads is not None
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._reads, "rb")
        )
        said = "it does not say what it waits for"
        try:
            async with asyncio.timeout(within_seconds):
                async for line in reader:
                    said = line.decode().strip()
                    if said == READY:
                        self._said_ready = True
                        return ""
        except TimeoutError:
            return f"{said}, {within_seconds:g} s after its start"
        finally:
            transport.close()
        return f"it ended: {self.detail or 'its log says why'}"

    def take_over(self, predecessor: Coordinator) -> None:
        """From now on it is this one that keeps their log short."""
        predecessor._child.keeps_log = False
        self._child.keeps_log = True

    async def stop(self) -> None:
        """It goes when it has answered what was asked, and others hear that it is not ready.

        Its sockets were closed here before.
        """
        await self._go(self._terms.lame_duck_seconds + self._terms.drain_seconds, signal.SIGUSR2)

    async def hand_over(self) -> None:
        """As `stop`; its successor has its sockets."""
        await self._go(self._terms.drain_seconds, signal.SIGUSR1)

    async def end(self) -> None:
        """At once; returns when it has gone."""
        self.kill()
        await self._gone()

    def kill(self) -> None:
        self._child.kill()

    async def _go(self, grace_seconds: float, number: int) -> None:
        self._was_there = self.pid is not None
        self._set_state("draining")
        await self._child.stop(grace_seconds + _END_SECONDS, number)
        await self._gone()

    async def _gone(self) -> None:
        self._close_pipe()
        await asyncio.wait([self._keeping])
        self._forget_gauges()

    def _started(self, starts: int, pid: int) -> None:
        self._close_pipe()
        self._last_pid = pid
        if self.state != "draining":
            self._set_state("running")

    def _ended(self, ending: str) -> None:
        self._has_ended = True
        self._close_pipe()
        self._forget_gauges()
        self._set_state("restarting", ending)

    def _close_pipe(self) -> None:
        """Our copy of the end that it writes to: from now on, its end is that of the pipe."""
        if self._writes is not None:
            os.close(self._writes)
            self._writes = None

    def _forget_gauges(self) -> None:
        if self._metrics is not None:  # what it held is held no more; what it counted stays
            mark_process_dead(self._last_pid, self._metrics)  # type: ignore[no-untyped-call]

    def _set_state(self, state: str, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self._changed()
