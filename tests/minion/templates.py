"""Templates for tests: processes that fork workers of the tests' own interpreter."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from minion.host.environment import worker_environment
from tests.acceptance.platform import eventually
from tests.minion.service import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]


class Template:
    """A template process, ready to fork, and where to ask it."""

    def __init__(self, socket: Path, process: subprocess.Popen[bytes]) -> None:
        self.socket = str(socket)
        self.process = process
        self.pid = process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def started(path: Path, *modules: str) -> Iterator[Template]:
    process = subprocess.Popen(
        command(path, *modules),
        env={**worker_environment(os.environ, threads=1), "PATH": "/nowhere"},
        cwd=ROOT,
    )
    template = Template(path, process)
    try:
        eventually(path.exists, within=DEADLINE_SECONDS, what="the template")
        yield template
    finally:
        template.kill()


def command(path: Path, *modules: str, parent: int | None = None) -> list[str]:
    return [
        *(sys.executable, "-u", "-m", "minion.worker.template", "--socket", str(path)),
        *("--parent-pid", str(parent or os.getpid()), *modules),
    ]
