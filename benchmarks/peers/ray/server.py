"""Ray Serve behind HAProxy and in throughput mode, as its docs advise for production.

The switches for both are environment variables in `roster.py`.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.task import current
from benchmarks.peers.work import handler

task = current()


@serve.deployment(
    num_replicas=task.workers, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1}
)
class Api:
    def __init__(self) -> None:
        self._handle = handler(current())

    @serve.batch(max_batch_size=task.max_batch_size, batch_wait_timeout_s=task.window_ms / 1000)
    async def batched(self, bodies: list[bytes]) -> list[dict[str, Any]]:
        return self._handle(bodies)

    async def __call__(self, request: Request) -> Response:
        answer = await self.batched(await request.body())
        return Response(json.dumps(answer), media_type="application/json")


if __name__ == "__main__":
    # A short folder: Unix sockets lie in it.
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=os.environ["HOME"] + "/r",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": task.port})
    serve.run(Api.bind())
    signal.sigwait({signal.SIGTERM})
