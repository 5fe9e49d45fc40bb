"""Networks that fail when they are told to.

A `Proxy` stands between a coordinator and a host on one machine: bytes come late, stop
coming, or end in the middle of an answer. A `Line` joins two network namespaces, and
what the kernel sends on it is dropped by chance, or altogether: TCP then does what it
does on a bad network.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards every connection; `proxied` makes one."""

    def __init__(self, upstream: str, path: Path) -> None:
        self.address = f"unix:{path}"
        self.delay_seconds = 0.0
        """Either way."""
        self.bytes_per_second = 0.0
        """What it takes of what the host says; 0: all."""
        self._upstream = upstream.removeprefix("unix:")
        self._left: int | None = None  # bytes to the coordinator, until all is cut
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0

    def cut_after(self, size_bytes: int) -> None:
        """Resets the connections when the host has said so much more."""
        self._left = size_bytes

    def stop_flowing(self) -> None:
        """From now on connections are open, and nothing passes: half-open, as both ends see it."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held passes, as TCP would have it."""
        self._flowing.set()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_host = await asyncio.open_unix_connection(self._upstream)
        pair = {writer, to_host}
        self._writers |= pair
        to = asyncio.create_task(self._pump(reader, to_host))
        back = asyncio.create_task(self._pump(there, writer, from_host=True))
        self._tasks |= {to, back}
        try:
            await asyncio.wait({to, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= pair
            for each in pair:
                each.close()
            for task in (to, back):
                task.cancel()
                self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        from_host: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._flowing.wait()
                if from_host and self._left is not None:
                    data, self._left = data[: self._left], self._left - len(data)
                    if self._left <= 0:
                        self._cut(writer, data)
                        return
                if self.delay_seconds:
                    loop.call_later(self.delay_seconds, writer.write, data)
                else:
                    writer.write(data)
                    await writer.drain()
                if from_host and self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)

    def _cut(self, writer: asyncio.StreamWriter, last: bytes) -> None:
        self._left = None
        self.cuts += 1
        writer.write(last)  # which leaves at once, where the buffer has room
        for each in self._writers:
            each.transport.abort()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def proxied(upstream: str, path: Path) -> AsyncIterator[Proxy]:
    """A proxy before this address, listening on a socket of its own."""
    proxy = Proxy(upstream, path)
    server = await asyncio.start_unix_server(proxy.forward, path)
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()


# Between machines.

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_PACKET_BYTES = 64 * 1024
HERE, THERE = "10.213.77.1", "10.213.77.2"


class Line:
    """A line between this namespace and another; `laid` makes one."""

    def __init__(self, namespace: str, here: int, there: int, seed: int) -> None:
        self.namespace = namespace
        self.loss = 0.0
        """The part of packets that is dropped, either way."""
        self.cut = False
        self.dropped = 0
        self._random = random.Random(seed)
        self._ends = (here, there)

    def carry(self) -> None:
        """Has the running loop carry packets."""
        here, there = self._ends
        loop = asyncio.get_running_loop()
        loop.add_reader(here, self._carry, here, there)
        loop.add_reader(there, self._carry, there, here)

    def drop(self) -> None:
        for end in self._ends:
            asyncio.get_running_loop().remove_reader(end)

    def _carry(self, source: int, target: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while packet := os.read(source, _PACKET_BYTES):
                if self.cut or self._random.random() < self.loss:
                    self.dropped += 1
                else:
                    with contextlib.suppress(OSError):  # as full as a line can be
                        os.write(target, packet)


def why_no_lines() -> str:
    """What is missing here for a line between namespaces; empty where nothing is."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "no `ip` here: `make iproute` installs iproute2 where apt can"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no /dev/net/tun here"
    name = f"dm-try-{os.getpid()}"
    tried = _ip("netns", "add", name, check=False)
    _ip("netns", "del", name, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    try:
        os.close(_tunnel(name))
    except OSError as error:
        return f"no tunnels here: {error.strerror}"
    return ""


@contextmanager
def laid(seed: int) -> Iterator[Line]:
    """A line to a namespace of its own, in which the addresses `HERE` and `THERE` are."""
    name = f"dm{os.getpid()}"
    with contextlib.ExitStack() as exits:
        _ip("netns", "add", name)
        exits.callback(_ip, "netns", "del", name, check=False)
        ends = []
        for suffix in ("a", "b"):
            ends.append(_tunnel(name + suffix))
            exits.callback(os.close, ends[-1])
        _ip("link", "set", f"{name}b", "netns", name)
        _ip("addr", "add", f"{HERE}/30", "dev", f"{name}a")
        _ip("link", "set", f"{name}a", "up")
        _ip("-n", name, "addr", "add", f"{THERE}/30", "dev", f"{name}b")
        _ip("-n", name, "link", "set", f"{name}b", "up")
        yield Line(name, *ends, seed)


def _tunnel(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True, timeout=20)
