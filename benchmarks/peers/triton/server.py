"""Triton: the server that nvidia-pytriton bundles, with its Python backend and dynamic batching."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytriton

from benchmarks.peers.task import Task, Work, current

BUNDLED = Path(pytriton.__file__).parent / "tritonserver"
LIBRARIES = Path(pytriton.__file__).parents[1] / "nvidia_pytriton.libs"
NUMBERS = (Work.TENSOR, Work.JSON)

CONFIG = """\
name: "model"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "body", data_type: {type}, dims: [ {dims} ] }} ]
output [ {{ name: "answer", data_type: TYPE_STRING, dims: [ 1 ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: {window} }}
instance_group [ {{ count: {workers}, kind: KIND_CPU }} ]
"""


def repository(task: Task, folder: Path) -> Path:
    model = folder / "repository" / "model"
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("model.py"), model / "1")
    numbers = task.work in NUMBERS
    text = CONFIG.format(
        type="TYPE_FP32" if numbers else "TYPE_STRING", dims=-1 if numbers else 1,
        batch=task.max_batch_size, window=task.window_ms * 1000, workers=task.workers,
    )  # fmt: skip
    (model / "config.pbtxt").write_text(text)
    return model.parent


def backends(folder: Path) -> Path:
    """The bundled Python backend, with the stub for this version of Python beside it."""
    copied = Path(shutil.copytree(BUNDLED / "backends", folder / "backends"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = BUNDLED / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, copied / "python")
    return copied


def main() -> None:
    task, home = current(), Path(os.environ["HOME"])
    os.environ["BENCHMARK_ROOT"] = os.environ["PYTHONPATH"]
    os.environ["LD_LIBRARY_PATH"] = str(LIBRARIES)
    command = [
        "tritonserver", "--model-repository", str(repository(task, home)),
        "--backend-directory", str(backends(home)),
        "--http-address", "127.0.0.1", "--http-port", str(task.port),
        "--allow-grpc", "false", "--allow-metrics", "false",
        "--backend-config", f"python,shm-region-prefix-name=peer{task.port}",
    ]  # fmt: skip
    os.execv(BUNDLED / "bin" / "tritonserver", command)


if __name__ == "__main__":
    main()
