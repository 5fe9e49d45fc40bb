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
from pathlib import Path
from typing import NamedTuple, Protocol

from minion.host.children import Children
from minion.host.environment import worker_environment
from minion.host.limits import limit
from minion.host.spec import ServiceSpec
from wire.errors import WireError
from wire.forks import MAX_PACKET_BYTES, Ended, Fork, Forked, NotForked, decode, encode

log = logging.getLogger("demitasse.host.processes")

#: A template that was started a moment ago imports: ten seconds from a cold disk.
_FORK_SECONDS = 20.0
#: It reaps within a millisecond, and after an orphan that held much memory; one that is stopped
#: or gone leaves the ending unknown.
_ENDING_SECONDS = 5.0


class Process(Protocol):
    """A worker's process, in a process group of its own with its number."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int | None:
        """Its exit status once it has ended, as `subprocess` gives it; None: its template
        cannot tell. Can be asked any number of times."""


class Wanted(NamedTuple):
    """What a worker's process is given. The descriptors stay the caller's."""

    connection: int
    """A descriptor: its end of the socket pair."""
    arena: int
    """A descriptor: the shared memory."""
    output: int
    """A descriptor: where it prints."""
    temporary: str
    """Its own folder."""


async def start_worker(spec: ServiceSpec, wanted: Wanted, children: Children) -> Process:
    """A process that lives no longer than this one, under its limits.

    Cancelled, it leaves nothing behind.

    Raises:
        OSError: it cannot be started.
    """
    if spec.template is not None:
        try:
            return await _fork(spec, spec.template, wanted)
        except (OSError, ValueError) as error:  # an environment, too, may be no UTF-8
            log.info("not forked from its template (%s), started plainly", error)
    return await _spawn(spec, wanted, children)


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process (SIGSTOP): it is not busy, and hears nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def lives(pid: int) -> bool:
    """Whether the process has not begun to end. The kernel takes its memory first, then what it
    has open (`do_exit`): whoever finds its connection closed can tell who closed it. An
    interpreter that ends after an exception closes it, too."""
    try:
        return Path(f"/proc/{pid}/statm").read_text().split()[0] != "0"
    except OSError:
        return False


class _Spawned:
    """One that this process has started itself."""

    def __init__(self, process: asyncio.subprocess.Process, children: Children) -> None:
        self._process = process
        self._children = children
        self.pid = process.pid

    async def wait(self) -> int:
        status = await self._process.wait()
        self._children.ended(self.pid)
        return status


async def _spawn(spec: ServiceSpec, wanted: Wanted, children: Children) -> Process:
    environment = _environment(spec, wanted)
    starting = asyncio.ensure_future(
        children.start(
            spec.python,
            "-I",
            "-u",
            "-m",
            "minion.worker",
            "--socket",
            str(wanted.connection),
            "--arena",
            str(wanted.arena),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=wanted.output,
            stderr=wanted.output,
            pass_fds=(wanted.connection, wanted.arena),
            env=environment,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Not cancelled half-way: a process that nobody knows of could not be ended.
        process = await starting
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        children.ended(process.pid)
        raise
    spawned = _Spawned(process, children)
    try:
        limit(process.pid, spec)
    except OSError:
        process.kill()
        await spawned.wait()
        raise
    return spawned


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

    async def wait(self) -> int | None:
        return await asyncio.shield(self._ending)

    async def _watch(
        self, watched: int, template: socket.socket, held: contextlib.ExitStack
    ) -> int | None:
        with held:
            await _readable(watched)
            with contextlib.suppress(OSError, WireError):
                async with asyncio.timeout(_ENDING_SECONDS):
                    told = await _packet(template)
                    if isinstance(told, Ended):
                        return told.status
        return None


async def _fork(spec: ServiceSpec, path: str, wanted: Wanted) -> Process:
    with contextlib.ExitStack() as held:
        template = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        template.setblocking(False)
        template.connect(path)
        lifeline, ours = os.pipe()
        held.callback(os.close, ours)
        request = Fork(spec.directory, _environment(spec, wanted))
        output = wanted.output
        descriptors = [wanted.connection, wanted.arena, lifeline, output, output]
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
        limit(told.pid, spec)
        return _Forked(told.pid, watched, template, held.pop_all())


def _environment(spec: ServiceSpec, wanted: Wanted) -> dict[str, str]:
    return worker_environment(os.environ, threads=spec.threads, temporary=wanted.temporary)


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
