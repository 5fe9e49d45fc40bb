"""What micro-batching reaches: served requests of one example each, beside the offline loop.

The offline loop calls the same model in the same environment in batches of
`max_batch_size`, with no server around it: the limit. Two models: `simulated`
at a tenth of its scale, whose limit is arithmetic, and `tagger`, a real torch
network, fed with raw tensors so that no decoder is in the way.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.load import load
from benchmarks.servers import EXAMPLES, Server, demitasse, machine
from envs.builder import EnvironmentStore
from envs.spec import resolve
from model_registry.manifest import Manifest, load_manifest

ROUNDS = 3
SECONDS = 3.0
BATCH = 8
CONNECTIONS = (1, 8, 32)

#: Runs in the model's environment: prints examples per second of the bare loop.
OFFLINE = """
import json, sys, time
from pathlib import Path
import numpy as np
from minion.model import Batch, LoadContext
from minion.worker.loader import find_model
spec = json.loads(sys.argv[1])
directory = Path(spec["directory"])
model = find_model(directory, spec["entry"])()
model.load(LoadContext(directory, "cpu", 1, spec["batch"], spec["options"]))
arrays = {n: np.zeros((spec["batch"], *shape), d) for n, (d, shape) in spec["inputs"].items()}
batch = Batch(arrays, [{}] * spec["batch"])
model.predict(batch)
count, started = 0, time.perf_counter()
while time.perf_counter() - started < spec["seconds"]:
    model.predict(batch)
    count += spec["batch"]
print(count / (time.perf_counter() - started))
"""


class Subject(NamedTuple):
    name: str
    package: Path
    body: bytes


@contextlib.contextmanager
def subjects() -> Iterator[list[Subject]]:
    """The packages under test; `simulated` at a tenth of its scale, in batches of eight."""
    with tempfile.TemporaryDirectory(prefix="demitasse-bench-") as folder:
        package = Path(folder) / "simulated"
        shutil.copytree(EXAMPLES / "simulated", package)
        manifest = package / "model.toml"
        text = manifest.read_text()
        for old, new in (
            ("scale = 1.0", "scale = 0.1"),
            ("max_batch_size = 1", f"max_batch_size = {BATCH}"),
            ("queue_limit = 10", "queue_limit = 64"),
        ):
            text = text.replace(old, new)
        manifest.write_text(text)
        yield [
            Subject("simulated x 0.1", package, bytes(4)),
            Subject("tagger", EXAMPLES / "tagger", bytes(128 * 128 * 3)),
        ]


def offline(package: Path, manifest: Manifest, home: Path) -> float:
    """Examples per second of the loop without a server."""
    spec = resolve(manifest.environment.python, manifest.requirements_text(package))
    environment = EnvironmentStore(home / "envs").ensure(spec, progress=lambda line: None)
    told = subprocess.run(
        [
            str(environment.python), "-I", "-c", OFFLINE,
            json.dumps({
                "directory": str(package), "entry": manifest.entry, "batch": BATCH,
                "inputs": {name: (s.dtype, s.shape) for name, s in manifest.inputs.items()},
                "options": dict(manifest.options), "seconds": SECONDS,
            }),
        ],
        env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(told.stdout)


def served(server: Server, model: str, body: bytes, connections: int) -> tuple[float, float]:
    """Examples per second, and the median latency in milliseconds."""
    told = load(
        f"{server.url}/models/{model}/infer",
        body,
        "application/octet-stream",
        connections=connections,
        seconds=SECONDS,
    )
    if told["failed"]:
        raise SystemExit(f"{told['failed']} of {told['requests']} requests failed")
    return told["requests"] / told["seconds"], told["p50_ms"]


def measure(server: Server, subject: Subject, home: Path, table: Table) -> None:
    """One model's rows: the loop, then the server at each number of connections."""
    manifest = load_manifest(subject.package)
    bare: list[float] = []
    rates: dict[int, list[tuple[float, float]]] = {count: [] for count in CONNECTIONS}
    for _ in range(ROUNDS):
        bare.append(offline(subject.package, manifest, home))
        for count in CONNECTIONS:
            rates[count].append(served(server, manifest.name, subject.body, count))
    limit = statistics.median(bare)
    table.add_row(subject.name, "offline", f"{limit:.1f}", "", "1.00")
    for count, found in rates.items():
        rate, latency = map(statistics.median, zip(*found, strict=True))
        table.add_row(
            subject.name, str(count), f"{rate:.1f}", f"{latency:.1f}", f"{rate / limit:.2f}"
        )


def main() -> None:
    table = Table(title=f"Micro-batching. {machine()}")
    for heading in ("model", "connections", "examples / s", "p50 ms", "of the offline loop"):
        table.add_column(heading)
    with (
        subjects() as under_test,
        tempfile.TemporaryDirectory() as home,
        demitasse([each.package for each in under_test], count=[]) as server,
    ):
        for subject in under_test:
            measure(server, subject, Path(home), table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
