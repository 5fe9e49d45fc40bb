"""What TorchServe's workers load: batches of bodies to answers."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.task import Work, current
from benchmarks.peers.work import handler


class Handler:
    def initialize(self, context: Any) -> None:
        self._handle = handler(current())
        self._is_parsed = current().work is Work.JSON

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        bodies = [each["body"] for each in data]
        if self._is_parsed:  # TorchServe has read the JSON
            return [{"n": len(body["inputs"]["x"])} for body in bodies]
        return self._handle(bodies)
