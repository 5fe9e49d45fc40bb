"""mosec: one Rust process, workers with dynamic batching behind it."""

from __future__ import annotations

import json
import sys
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.task import current
from benchmarks.peers.work import handler


class Whole(Worker):
    """Decodes and predicts in one stage: a stage of its own for the decoder costs a copy."""

    def __init__(self) -> None:
        self._handle = handler(current())

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: Any) -> bytes:
        return json.dumps(data).encode()

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        return self._handle(data)


if __name__ == "__main__":
    task = current()
    sys.argv += ["--address", "127.0.0.1", "--port", str(task.port), "--timeout", "60000"]
    server = Server()
    server.append_worker(
        Whole, num=task.workers, max_batch_size=task.max_batch_size, max_wait_time=task.window_ms
    )
    server.run()
