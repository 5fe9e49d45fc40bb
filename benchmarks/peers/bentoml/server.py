"""BentoML: a service whose API is batchable: a request brings a list of one, batches are joined.

Its window adapts itself to the load. Files come as forms: there is no raw body
for an API that is batched.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.task import current
from benchmarks.peers.work import handler

task = current()


batched = functools.partial(
    bentoml.api, batchable=True, max_batch_size=task.max_batch_size, max_latency_ms=10_000
)


@bentoml.service(
    workers=task.workers,
    traffic={"timeout": 60, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
)
class Model:
    def __init__(self) -> None:
        self._handle = handler(task)

    @batched()
    def numbers(self, inputs: list[dict[str, list[float]]]) -> list[dict[str, Any]]:
        return [{"n": len(each["x"])} for each in inputs]

    @batched()
    def files(self, files: list[Path]) -> list[dict[str, Any]]:
        return self._handle([each.read_bytes() for each in files])


if __name__ == "__main__":
    here = "benchmarks.peers.bentoml.server:Model"
    command = ["-m", "bentoml", "serve", here, "--host", "127.0.0.1", "--port", str(task.port)]
    os.execv(sys.executable, [sys.executable, *command])
