"""Starting what is measured, on a free port, until it answers; and what it burns.

Demitasse is started as its users do, by `demitasse publish` and `demitasse up`.
Its environments come from the cache, so that what is measured is not the building.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.environments import cache
from benchmarks.processes import Tree, free_port
from deploy.status import Status, read_status

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
#: Some run a C++ compiler, one after the other, on a core that others want as well.
START_SECONDS = 240.0


class CannotStart(Exception):
    """A server is missing something, or did not come up; the text says why."""


@dataclass(frozen=True)
class Server:
    url: str
    tree: Tree
    log: Path
    began: float
    """When it was exec'd, on the monotonic clock."""

    @property
    def home(self) -> Path:
        """Where this is the platform."""
        return self.log.parent / "home"

    def cpu_seconds(self) -> float:
        """Of all its processes."""
        return self.tree.cpu_seconds()

    def coordinator_cpu_seconds(self) -> float:
        """Of the coordinator alone, where this is the platform."""
        return self.tree.cpu_seconds(only=self.coordinators())

    def coordinators(self) -> list[int]:
        """Their pids, where this is the platform."""
        processes = self.status().processes
        return [each.pid for each in processes if each.role == "coordinator" and each.pid]

    def status(self) -> Status:
        """What `demitasse status` knows, where this is the platform."""
        return read_status(self.home)

    def wait(self, look: Callable[[], bool]) -> float:
        """Until it is as it should be; how many seconds that was after exec.

        Raises:
            CannotStart: it ended, or the time is over; with the end of its log.
        """
        while time.monotonic() < self.began + START_SECONDS:
            if not self.tree.is_alive():
                raise CannotStart(f"it ended at once: {self._end_of_log()}")
            with contextlib.suppress(httpx.TransportError):
                if look():
                    return time.monotonic() - self.began
            time.sleep(0.02)
        raise CannotStart(f"no right answer within {START_SECONDS:.0f} s: {self._end_of_log()}")

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, variables: Mapping[str, str]
) -> Iterator[Server]:
    """A server's processes, which end with the context.

    Args:
        folder: where it works and logs.
    """
    log = folder / "server.log"
    began = time.monotonic()
    tree = Tree(command, log=log, variables=variables, folder=folder)
    try:
        yield Server(f"http://127.0.0.1:{port}", tree, log, began)
    finally:
        tree.stop()


@contextlib.contextmanager
def demitasse(
    packages: Iterable[Path], variables: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """The platform with these packages, all of them ready.

    Args:
        variables: of its environment, such as settings.
    """
    with tempfile.TemporaryDirectory(prefix="demitasse-bench-") as told:
        folder, port = Path(told), free_port()
        with running(published(packages, folder, port), port, folder, variables or {}) as server:
            server.wait(lambda: _is_ready(server.url))
            yield server


def published(packages: Iterable[Path], folder: Path, port: int) -> list[str]:
    """Publishes into a new home in this folder; the command that then serves."""
    home = folder / "home"
    home.mkdir()
    for shared in ("envs", "kit"):
        (cache() / shared).mkdir(parents=True, exist_ok=True)
        (home / shared).symlink_to(cache() / shared)
    demitasse = [sys.executable, "-m", "demitasse"]
    subprocess.run(
        [*demitasse, "publish", *packages, "--home", home], check=True, stdout=subprocess.DEVNULL
    )
    ports = ["--port", str(port), "--admin-port", str(free_port())]
    return [*demitasse, "up", "--home", str(home), *ports]


def _is_ready(url: str) -> bool:
    models = httpx.get(f"{url}/models").json()["models"]
    return all(each["ready"] for model in models for each in model["versions"])


def machine() -> str:
    """One line: what was measured on, and when."""
    told = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*: (.*)", told)
    processor = found[1] if found else platform.machine()
    if not re.search(r"\b(avx512|amx)_bf16\b", told):
        processor += ", no bfloat16"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, "
        f"CPython {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
