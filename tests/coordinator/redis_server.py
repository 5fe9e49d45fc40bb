"""A real Redis on a free port of loopback, started and stopped by whoever needs one."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis

PATIENCE_SECONDS = 10.0


class RedisServer:
    """One server; it may be stopped, stunned and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "redis-server",
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "no"),
                *("--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru"),
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            assert time.monotonic() < end, "redis-server does not come up"
            assert self._process.poll() is None, "redis-server has ended"
            time.sleep(0.01)

    @contextmanager
    def stunned(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def size(self) -> int:
        """How many entries it holds."""
        async with Redis.from_url(self.url) as client:
            return int(await client.dbsize())

    async def spoil(self, instead: bytes) -> None:
        """Puts something else in the place of every entry."""
        async with Redis.from_url(self.url) as client:
            for key in await client.keys():
                await client.set(key, instead)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
