"""Templates for tests: processes that fork workers of the tests' own interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def command(path: Path, *modules: str, parent: int | None = None) -> list[str]:
    return [
        *(sys.executable, "-u", "-m", "minion.worker.template", "--socket", str(path)),
        *("--parent-pid", str(parent or os.getpid()), *modules),
    ]
