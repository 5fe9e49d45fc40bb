"""MLServer: a custom runtime with adaptive batching; several workers are its parallel inference.

It speaks the Open Inference Protocol in JSON alone, so a body travels as base64.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.task import Work, current
from benchmarks.peers.work import handler


class Runtime(MLModel):
    async def load(self) -> bool:
        self._task = current()
        self._handle = handler(self._task)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = payload.inputs[0].data.root
        if self._task.work is Work.JSON:
            rows, length = payload.inputs[0].shape
            answers = [{"n": length}] * rows
        else:
            answers = self._handle([base64.b64decode(each) for each in data])
        output = ResponseOutput(
            name="answer",
            shape=[len(answers), 1],
            datatype="BYTES",
            data=[json.dumps(answer) for answer in answers],
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    task, home = current(), Path(os.environ["HOME"])
    settings = {
        "host": "127.0.0.1", "http_port": task.port, "grpc_port": task.port + 1,
        "metrics_endpoint": None, "debug": False, "environments_dir": str(home / "envs"),
        # One worker needs no process of its own; that is what its docs call disabled.
        "parallel_workers": task.workers if task.workers > 1 else 0,
    }  # fmt: skip
    model = {
        "name": "model",
        "implementation": "benchmarks.peers.mlserver.server.Runtime",
        "max_batch_size": task.max_batch_size,
        "max_batch_time": task.window_ms / 1000,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(model))
    mlserver = Path(sys.executable).with_name("mlserver")
    os.execv(mlserver, [str(mlserver), "start", str(home)])


if __name__ == "__main__":
    main()
