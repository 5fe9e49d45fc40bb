"""Starts the whole platform as a user would, and looks at it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.acceptance.invariants import descriptors, leaking, shared_memory, tracebacks
from tests.processes import alive

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
PHOTO = EXAMPLES / "photos" / "cat.jpg"

T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, within: float, what: str) -> T:
    """The first true thing that `look` returns. A test that waits longer has failed."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {within} s for {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def demitasse(*words: str, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command line, with a home of its own."""
    return subprocess.run(
        [sys.executable, "-m", "demitasse", *words, "--home", str(home)],
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


class Platform:
    """`demitasse up` in a process of its own.

    Args:
        settings: by name, as variables of its environment.
    """

    def __init__(
        self, home: Path, *, processes: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        port, admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.log = (home / "up.log").open("wb")
        self.temporary = home / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "demitasse", "up", "--home", str(home),
                "--port", str(port), "--admin-port", str(admin_port),
                "--processes", str(processes),
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "TMPDIR": str(self.temporary),
                **{f"DEMITASSE_{name.upper()}": each for name, each in (settings or {}).items()},
            },
        )  # fmt: skip
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def output(self) -> str:
        return (self.home / "up.log").read_text()

    def status(self) -> list[dict[str, Any]]:
        told = demitasse("status", "--json", home=self.home, check=False)
        return list(json.loads(told.stdout)["processes"]) if told.stdout else []

    def of(self, role: str, model: str | None = None) -> list[dict[str, Any]]:
        return [
            each
            for each in self.status()
            if each["role"] == role and (model is None or each["model"] == model)
        ]

    def occupied(self, model: str) -> int:
        """Examples of a model that are queued or running, as a coordinator sees it."""
        replicas = httpx.get(f"{self.admin_url}/fleet").json()["replicas"]
        return sum(each["occupied"] for each in replicas if each["model"] == model)

    def is_empty(self) -> bool:
        """Whether no example is queued or running anywhere, as far as coordinators see."""
        replicas = httpx.get(f"{self.admin_url}/fleet").json()["replicas"]
        return not any(each["occupied"] for each in replicas)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        hosts = [each for each in self.status() if each["role"] in ("minion", "decoder")]
        return bool(hosts) and all(each["state"] == "ready" for each in hosts)

    def models_ready(self) -> bool:
        """Whether the API itself would send work to every version that is served."""
        try:
            models = self.client.get("/models").json()["models"]
        except httpx.HTTPError:
            return False
        served = [v for model in models for v in model["versions"] if v["serving"]]
        return bool(served) and all(version["ready"] for version in served)

    def wait_until_ready(self, within: float) -> None:
        eventually(self.ready, within=within, what=f"all minions:\n{self.output()}")
        eventually(self.models_ready, within=10, what="the coordinator's links")

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.log.close()


@contextlib.contextmanager
def running(
    home: Path,
    packages: Sequence[Path],
    *,
    processes: int = 1,
    within: float = 60,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Platform]:
    """A platform that serves these packages; everything it started is gone afterwards, and
    before that everything it took for callers who have gone."""
    home.mkdir(parents=True, exist_ok=True)
    named = shared_memory()
    demitasse("publish", *map(str, packages), home=home)
    platform = Platform(home, processes=processes, settings=settings)
    try:
        platform.wait_until_ready(within)
        pids = [each["pid"] for each in platform.status() if each["pid"]]
        before = descriptors(pids)
        yield platform
        if platform.process.poll() is None:
            _nothing_is_kept(platform, before)
    finally:
        platform.stop()
    gone = eventually(lambda: not any(map(alive, pids)), within=5, what="the end of all processes")
    assert gone
    assert not list(platform.temporary.iterdir()), "temporary files were left"
    assert shared_memory() <= named, "shared memory was left"
    found = tracebacks(home / "logs")
    assert not found, f"tracebacks in the logs: {found}"


def _nothing_is_kept(platform: Platform, before: dict[int, int]) -> None:
    platform.client.close()
    eventually(platform.is_empty, within=15, what="the end of all that was asked")
    leaks = leaking(before, descriptors(before))
    assert not leaks, f"descriptors before and now, by process: {leaks}"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
