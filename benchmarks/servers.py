"""What is measured: the platform as `demitasse up` starts it, and the floor below it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import httpx

EXAMPLES = Path(__file__).parent.parent / "examples"
START_SECONDS = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    url: str
    pids: list[int]
    """All processes that serve, by whose CPU time it is judged."""

    def cpu_seconds(self) -> float:
        return sum(map(_cpu_seconds, self.pids))


@contextlib.contextmanager
def demitasse(packages: Iterable[Path], *, count: Iterable[str]) -> Iterator[Server]:
    """The platform with these packages.

    Args:
        count: models whose hosts and workers count, beside the coordinator.
    """
    counted = set(count)
    with tempfile.TemporaryDirectory(prefix="demitasse-bench-") as folder:
        home = Path(folder)
        _run("publish", *map(str, packages), "--home", folder)
        ports = [_free_port(), _free_port()]
        log = (home / "up.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "demitasse", "up", "--home", folder,
             "--port", str(ports[0]), "--admin-port", str(ports[1])],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        url = f"http://127.0.0.1:{ports[0]}"
        try:
            _wait_until_ready(url)
            time.sleep(1.0)  # the supervisor writes its status twice a second
            told = json.loads(_run("status", "--json", "--home", folder))
            pids = [
                each["pid"]
                for each in told["processes"]
                if each["role"] == "coordinator" or each["model"] in counted
            ]
            yield Server(url, pids)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            log.close()


@contextlib.contextmanager
def floor() -> Iterator[Server]:
    """Bare aiohttp with uvloop: reads the body, answers a constant."""
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.floor", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: httpx.get(url).status_code == 405)
        yield Server(url, [process.pid])
    finally:
        process.terminate()
        process.wait(10)


def machine() -> str:
    """One line: what was measured on, with versions."""
    packages = " ".join(f"{name} {version(name)}" for name in ("demitasse", "aiohttp", "uvloop"))
    return (
        f"{packages}; CPython {platform.python_version()}; {os.cpu_count()} cores, "
        f"{platform.machine()}; {time.strftime('%Y-%m-%d')}"
    )


def _run(*words: str) -> str:
    command = [sys.executable, "-m", "demitasse", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _wait_until_ready(url: str) -> None:
    def ready() -> bool:
        models = httpx.get(f"{url}/models").json()["models"]
        return all(each["ready"] for model in models for each in model["versions"])

    _wait(ready)


def _wait(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if look():
                return
        time.sleep(0.1)
    raise TimeoutError("the server did not come up")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
