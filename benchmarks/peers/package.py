"""Our side of the comparison, made ready to be published."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.environments import cache, interpreter
from benchmarks.packages import edit, variant
from benchmarks.peers.task import PICTURES, Lent, Task
from benchmarks.servers import EXAMPLES, ROOT

NOOP = EXAMPLES / "noop"
PHOTO = Path(__file__).parent / "demitasse" / "photo"
NETWORK = Path(__file__).with_name("resnet.py")


def packages(task: Task, folder: Path) -> list[Path]:
    """The packages of a task, in this folder."""
    if task.work not in PICTURES:
        return [_noop(task, folder)]
    return [_photo(task, seed, folder) for seed in range(task.networks)]


def _noop(task: Task, folder: Path) -> Path:
    window = f'max_queue_delay = "{task.window_ms}ms"'
    return variant(NOOP, folder, {'max_queue_delay = "0ms"': window})


def _photo(task: Task, seed: int, folder: Path) -> Path:
    # As many processes as peers have, which hold all networks each, or the next more.
    workers = -(-task.workers // task.networks)
    package = shutil.copytree(PHOTO, folder / f"photo-{seed}")
    shutil.copy(NETWORK, package)
    shutil.copy(weights(seed), package / "resnet.pt")
    edit(
        package,
        {'name = "photo-0"': f'name = "photo-{seed}"', "workers = 1": f"workers = {workers}"},
    )
    with (package / "model.toml").open("a") as manifest:
        if task.lent is Lent.COMPILED:
            manifest.write('\n[torch]\ncompile = "default"\n')
        if task.promise_seconds is not None:
            manifest.write(f'\n[admission]\npromise = "{task.promise_seconds:g}s"\n')
    return package


@functools.cache
def weights(seed: int) -> Path:
    """The state dict that `resnet.drawn(seed)` has, as a file."""
    file = cache() / f"resnet-{seed}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [interpreter(PHOTO / "requirements.txt"), "-m", "benchmarks.peers.resnet", file, str(seed)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return file
