"""What a platform costs that has many models: the same requests to one of 1, of 10 and of 50.

`python -m benchmarks.crowd`: no-op models, JSON of 64 bytes, one platform per size,
all up at once, measured in turns. CPU is that of all processes of a platform, the idle
models' included; what they burn while nobody asks is told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.load import load
from benchmarks.peers.items import ITEMS
from benchmarks.peers.package import NOOP
from benchmarks.requests import Request
from benchmarks.servers import Server, demitasse, machine

SIZES = (1, 10, 50)
CONNECTIONS = 64
IDLE_SECONDS = 5.0
REQUEST = Request("/models/noop-0/infer", ITEMS["w1b"].body(), {"Content-Type": "application/json"})


class Measured(NamedTuple):
    cpu_ms: float
    """Per request."""
    rate: float
    p50_ms: float
    failed: int


def packages(count: int, folder: Path) -> list[Path]:
    """So many no-op models of different names."""
    made = []
    for number in range(count):
        package = shutil.copytree(NOOP, folder / f"noop-{number}")
        manifest = package / "model.toml"
        text = manifest.read_text()
        manifest.write_text(text.replace('name = "noop"', f'name = "noop-{number}"', 1))
        made.append(package)
    return made


def measured(server: Server, seconds: float) -> Measured:
    before = server.cpu_seconds()
    seen = load(f"{server.url}{REQUEST.path}", REQUEST, connections=CONNECTIONS, seconds=seconds)
    cpu = server.cpu_seconds() - before
    return Measured(
        1000 * cpu / seen.requests, seen.requests / seen.seconds, seen.p50_ms, seen.failed
    )


def idle(server: Server) -> float:
    """Of one core, while nobody asks."""
    before = server.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return (server.cpu_seconds() - before) / IDLE_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    told = parser.parse_args()
    table = Table(title=machine())
    for heading in ("models", "CPU ms each", "per s", "p50 ms", "failed", "idle", "MiB"):
        table.add_column(heading, justify="right")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crowd-")))
        made = packages(max(SIZES), folder)
        servers = {size: stack.enter_context(demitasse(made[:size])) for size in SIZES}
        rows: dict[int, list[Measured]] = {size: [] for size in SIZES}
        for _ in range(told.rounds):
            for size, server in servers.items():
                rows[size].append(measured(server, told.seconds))
        for size, server in servers.items():
            medians = [statistics.median(each) for each in zip(*rows[size], strict=True)]
            shown = [f"{value:.3g}" for value in medians]
            memory = server.tree.memory_bytes() / 2**20
            table.add_row(str(size), *shown, f"{idle(server):.1%}", f"{memory:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
