"""A worker's process: forked from the template of its environment, or started plainly.

Plainly is always possible and a fork is the same, sooner: whatever keeps a
template from forking is logged, and a process of its own is started. Knows
processes, not what they say. Called by the workers' keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from typing import Protocol

from minion.host.environment import worker_environment
from minion.host.restarts import describe_ending
from minion.host.spec import ServiceSpec
from wire.errors import WireError
from wire.forks import MAX_PACKET_BYTES, Ended, Fork, Forked, NotForked, decode, encode

log = logging.getLogger("demitasse.host.processes")

#: A template that was started a moment ago imports: ten seconds from a cold disk.
_FORK_SECONDS = 20.0
#: It reaps within a millisecond; one that is stopped or gone leaves the ending unknown.
_ENDING_SECONDS = 1.0


class Process(Protocol):
    """A worker's process, in a process group of its own with its number."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> str:
        """How it ended, in words, once it has; can be asked any number of times."""


async def start_worker(spec: ServiceSpec, connection: int, arena: int, output: int) -> Process:
    """A process that has these descriptors and lives no longer than this one.

    Args:
        output: where it prints, to be.

    Cancelled, it leaves nothing behind.

    Raises:
        OSError: it cannot be started.
    """
    if spec.template is not None:
        try:
            return await _fork(spec, spec.template, connection, arena, output)
        except (OSError, WireError) as error:
            log.info("not forked from its template (%s), started plainly", error)
    return await _spawn(spec, connection, arena, output)


class _Spawned:
    """One that this process has started itself."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> str:
        return describe_ending(await self._process.wait())


async def _spawn(spec: ServiceSpec, connection: int, arena: int, output: int) -> Process:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            spec.python,
            "-I",
            "-u",
            "-m",
            "minion.worker",
            "--socket",
            str(connection),
            "--arena",
            str(arena),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(connection, arena),
            env=worker_environment(os.environ, threads=spec.threads),
            start_new_session=True,
        )
    )
    try:
        return _Spawned(await asyncio.shield(starting))
    except asyncio.CancelledError:
        # Not cancelled half-way: a process that nobody knows of could not be ended.
        process = await starting
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise


class _Forked:
    """One that a template has forked: neither our child nor dependent on its parent.

    Holds the pipe whose end is its end, until it has ended.
    """

    def __init__(
        self, pid: int, watched: int, template: socket.socket, held: contextlib.ExitStack
    ) -> None:
        """
        Args:
            watched: a descriptor of the process.
            template: the connection on which its ending will be told.
            held: closes all of this.
        """
        self.pid = pid
        self._ending = asyncio.create_task(self._watch(watched, template, held))

    async def wait(self) -> str:
        return await asyncio.shield(self._ending)

    async def _watch(
        self, watched: int, template: socket.socket, held: contextlib.ExitStack
    ) -> str:
        with held:
            await _readable(watched)
            with contextlib.suppress(OSError, WireError):
                async with asyncio.timeout(_ENDING_SECONDS):
                    told = await _packet(template)
                    if isinstance(told, Ended):
                        return describe_ending(told.status)
        return "ended, and its template cannot tell how"


async def _fork(spec: ServiceSpec, path: str, connection: int, arena: int, output: int) -> Process:
    with contextlib.ExitStack() as held:
        template = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        template.setblocking(False)
        template.connect(path)
        lifeline, ours = os.pipe()
        held.callback(os.close, ours)
        request = Fork(spec.directory, worker_environment(os.environ, threads=spec.threads))
        descriptors = [connection, arena, lifeline, output, output]
        try:
            socket.send_fds(template, [encode(request)], descriptors)
        finally:
            os.close(lifeline)
        async with asyncio.timeout(_FORK_SECONDS):
            told = await _packet(template)
        if isinstance(told, NotForked):
            raise WireError(told.reason)
        if not isinstance(told, Forked):
            raise WireError("it ended at once")
        watched = os.pidfd_open(told.pid)
        held.callback(os.close, watched)
        return _Forked(told.pid, watched, template, held.pop_all())


async def _packet(template: socket.socket) -> object:
    data = await asyncio.get_running_loop().sock_recv(template, MAX_PACKET_BYTES)
    if not data:
        raise WireError("the template has ended")
    return decode(data)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
