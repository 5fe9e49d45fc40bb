"""Real commands, as processes, on a home of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """Of every command: nothing of whoever runs the tests, but the home."""
    inherited = {key: value for key, value in os.environ.items() if "DEMITASSE" not in key}
    return {**inherited, "DEMITASSE_HOME": str(home)}


@pytest.fixture
def demitasse(environment: dict[str, str]) -> Command:
    """Runs one command to its end."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "demitasse", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def noop(tmp_path: Path) -> Path:
    """A package that may be changed."""
    package = tmp_path / "noop"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES / "noop", package, ignore=ignored)
    return package


def raise_version(package: Path, version: str) -> None:
    manifest = package / "model.toml"
    manifest.write_text(manifest.read_text().replace('"1.0.0"', f'"{version}"'))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
