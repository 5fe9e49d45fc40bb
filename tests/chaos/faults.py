"""What strikes: one fault at a time, drawn from a seed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from deploy.status import read_status
from tests.acceptance.platform import Platform

HOSTILE = (
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /models/sum/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{",
    b"POST /analyze HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n"
    b"\xff\xd8\xff\xe0",
)


class Faults:
    """Strikes a platform; remembers what, and when a coordinator was hit."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.struck: list[str] = []
        self.coordinator_killed_at: list[float] = []
        """On the monotonic clock: what it had accepted is cut, and nothing can be done."""
        self._platform = platform
        self._draw = random.Random(seed)
        self._kinds: tuple[Callable[[], None], ...] = (
            self._kill_a_worker,
            self._kill_a_worker,
            self._stop_a_worker,
            self._kill_a_host,
            self._kill_a_template,
            self._kill_a_coordinator,
            self._send_a_killer,
            self._hang_up_while_uploading,
            self._send_hostile_bytes,
        )

    def strike(self) -> None:
        kind = self._draw.choice(self._kinds)
        self.struck.append(kind.__name__.strip("_"))
        with contextlib.suppress(ProcessLookupError):  # gone by itself meanwhile
            kind()

    def _pid(self, *roles: str) -> int | None:
        found = read_status(self._platform.home).processes
        pids = [each.pid for each in found if each.role in roles and each.pid is not None]
        return self._draw.choice(pids) if pids else None

    def _signal(self, number: signal.Signals, *roles: str) -> None:
        pid = self._pid(*roles)
        if pid is not None:
            os.kill(pid, number)

    def _kill_a_worker(self) -> None:
        self._signal(signal.SIGKILL, "worker")

    def _stop_a_worker(self) -> None:
        self._signal(signal.SIGSTOP, "worker")

    def _kill_a_host(self) -> None:
        self._signal(signal.SIGKILL, "minion", "decoder")

    def _kill_a_template(self) -> None:
        self._signal(signal.SIGKILL, "template")

    def _kill_a_coordinator(self) -> None:
        self.coordinator_killed_at.append(time.monotonic())
        self._signal(signal.SIGKILL, "coordinator")

    def _send_a_killer(self) -> None:
        values = [-1.0, self._draw.random(), 0.0, 0.0]
        with contextlib.suppress(httpx.TransportError):
            httpx.post(
                f"{self._platform.url}/models/sum/infer", json={"inputs": {"x": values}}, timeout=10
            )

    def _hang_up_while_uploading(self) -> None:
        with self._connection() as connection:
            connection.sendall(
                b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 300000\r\n\r\n" + bytes(100_000)
            )

    def _send_hostile_bytes(self) -> None:
        with self._connection() as connection, contextlib.suppress(OSError):
            connection.sendall(self._draw.choice(HOSTILE))
            connection.recv(1000)

    def _connection(self) -> socket.socket:
        address = urlsplit(self._platform.url)
        return socket.create_connection((address.hostname, address.port), timeout=5)
