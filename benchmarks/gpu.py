"""Images per second of a served network of ResNet-18's size, beside the bare loop.

On `cuda` where torch sees one, otherwise on the CPU, smaller. A lane with real
workers and askers for four batches each, beside one process with the loop alone on
the same device; rounds in turn, medians. The served images go through shared memory,
not over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.environments import interpreter
from benchmarks.lane import Askers
from benchmarks.servers import machine
from minion.host.lane import Lane
from minion.host.spec import InputSpec, ServiceSpec
from wire.tensor import Tensor
from wire.torch_options import TorchOptions

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "peers" / "demitasse" / "photo" / "requirements.txt"
SIDE = 224
ROUNDS = 3

PLAIN, HALF, BRAIN = TorchOptions(), TorchOptions("float16"), TorchOptions("bfloat16")
ON_CPU = [PLAIN, BRAIN, HALF, TorchOptions(compile="default")]
ON_GPU = [PLAIN, HALF, BRAIN, TorchOptions("float16", "default")]
ON_GPU += [TorchOptions("float16", "reduce-overhead")]


class Case(NamedTuple):
    device: str
    workers: int
    batch: int
    options: TorchOptions


def cases(device: str) -> list[Case]:
    """Two workers on a GPU: what one copies and prepares while the other computes."""
    if device == "cpu":
        return [Case(device, 1, 8, options) for options in ON_CPU]
    return [
        Case(device, workers, batch, options)
        for options in ON_GPU
        for batch in (8, 64)
        for workers in (1, 2)
    ]


def spec(case: Case, python: Path, package: Path) -> ServiceSpec:
    return ServiceSpec(
        model="resnet",
        version="1.0.0",
        replica="resnet-1.0.0-0",
        epoch=1,
        python=str(python),
        directory=str(package),
        entry="resnet_served:Served",
        inputs={"image": InputSpec("uint8", (SIDE, SIDE, 3))},
        queue_limit=4096,
        max_batch_size=case.batch,
        max_queue_delay_seconds=0.005,
        workers=case.workers,
        device=case.device,
        load_timeout_seconds=900,
        torch=case.options,
    )


class BareLoop:
    """A process that works when it is told to."""

    def __init__(self, case: Case, python: Path, package: Path) -> None:
        options = case.options
        arguments = [case.device, str(case.batch), options.precision or "-", options.compile or "-"]
        self._process = subprocess.Popen(
            [python, package / "bare_loop.py", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._out.readline()

    def rate(self, seconds: float) -> float:
        self._in.write(f"{seconds}\n")
        self._in.flush()
        return float(self._out.readline())

    def close(self) -> None:
        self._in.close()
        self._process.wait()


async def served_rate(lane: Lane, case: Case, seconds: float) -> float:
    images = {"image": Tensor.from_array(np.zeros((SIDE, SIDE, 3), np.uint8))}
    askers = Askers(lane, 4 * case.batch * case.workers, images)
    started = time.perf_counter()
    await askers.ask_for(seconds)
    return len(askers.latencies) / (time.perf_counter() - started)


async def measure(case: Case, python: Path, package: Path, seconds: float) -> tuple[float, float]:
    """Images per second: served, and in the bare loop."""
    lane = Lane(spec(case, python, package))
    lane.start()
    while True:
        if lane.keeper.ready() == case.workers:
            break
        await asyncio.sleep(0.05)
    loop = BareLoop(case, python, package)
    await served_rate(lane, case, seconds / 2)  # the lane learns the batches' cost
    rates = [(await served_rate(lane, case, seconds), loop.rate(seconds)) for _ in range(ROUNDS)]
    loop.close()
    await lane.stop()
    served, bare = zip(*rates, strict=True)
    return statistics.median(served), statistics.median(bare)


def device_of(python: Path) -> str:
    question = "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')"
    command = [python, "-c", question]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cpu, cuda or cuda:N; otherwise cuda where there is one")
    parser.add_argument("--seconds", type=float, default=5, help="per round and side")
    arguments = parser.parse_args()
    python = interpreter(REQUIREMENTS)
    device = arguments.device or device_of(python)
    table = Table(title=f"ResNet-18 on {device}. {machine()}")
    for heading in ("precision", "compile", "workers", "batch", "served / s", "bare / s", "ratio"):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        for source in (HERE / "models" / "resnet").glob("*.py"):
            shutil.copy(source, package)
        shutil.copy(HERE / "peers" / "resnet.py", package)
        for case in cases(device):
            served, bare = uvloop.run(measure(case, python, package, arguments.seconds))
            options = case.options
            table.add_row(
                *(options.precision or "float32", options.compile or "", str(case.workers)),
                *(str(case.batch), f"{served:,.1f}", f"{bare:,.1f}", f"{served / bare:.2f}"),
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
