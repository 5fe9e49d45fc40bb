"""TorchServe: a Java front end with dynamic batching, Python workers behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.task import Task, current

#: The keys are fixed; see its configuration reference.
PROPERTIES = {
    "max_request_size": 100_000_000,
    "default_response_timeout": 60,
    "job_queue_size": 1000,
    "disable_token_authorization": "true",
}


def properties(task: Task) -> str:
    """Its configuration file. Batching of a model stands in JSON within it."""
    workers = {"minWorkers": task.workers, "maxWorkers": task.workers}
    batching = {"batchSize": task.max_batch_size, "maxBatchDelay": task.window_ms}
    model = {"defaultVersion": True, "marName": "model.mar", "responseTimeout": 60}
    ports = {"inference": task.port, "management": task.port + 1, "metrics": task.port + 2}
    lines = {
        **{f"{name}_address": f"http://127.0.0.1:{port}" for name, port in ports.items()},
        **PROPERTIES,
        # Names the sockets of its workers in /tmp: two servers must not share it.
        "initial_worker_port": task.port,
        "models": json.dumps({"model": {"1.0": {**model, **workers, **batching}}}),
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def main() -> None:
    task, home = current(), Path(os.environ["HOME"])
    programs = Path(sys.executable).parent
    store = home / "store"
    store.mkdir()
    subprocess.run(
        [programs / "torch-model-archiver", "--model-name", "model", "--version", "1.0",
         "--handler", Path(__file__).with_name("handler.py"), "--export-path", store],
        check=True,
    )  # fmt: skip
    settings = home / "config.properties"
    settings.write_text(properties(task))
    command = [
        "torchserve", "--foreground", "--ncs", "--model-store", str(store),
        "--ts-config", str(settings), "--models", "model=model.mar",
    ]  # fmt: skip
    os.execv(programs / "torchserve", command)


if __name__ == "__main__":
    main()
