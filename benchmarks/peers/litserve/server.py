"""LitServe: FastAPI, workers behind its ZeroMQ queue (`fast_queue`, as its docs advise)."""

from __future__ import annotations

from typing import Annotated, Any

import litserve
from fastapi import Depends, Request

from benchmarks.peers.task import current
from benchmarks.peers.work import handler


async def body(request: Request) -> bytes:
    return await request.body()


#: Without it LitServe would read JSON or a form.
Raw = Annotated[bytes, Depends(body)]


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._handle = handler(current())

    def decode_request(self, request, **kwargs):  # type: ignore[no-untyped-def]
        return request

    # Its annotation is read as an object: `from __future__` would make it a text.
    decode_request.__annotations__["request"] = Raw

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes] | bytes, **kwargs: Any) -> Any:
        return self._handle(x) if isinstance(x, list) else self._handle([x])[0]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any, **kwargs: Any) -> Any:
        return output


if __name__ == "__main__":
    task = current()
    api = Api(max_batch_size=task.max_batch_size, batch_timeout=task.window_ms / 1000)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=task.workers,
        timeout=60,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=task.port,
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
