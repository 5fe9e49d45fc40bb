"""The limit: one process of the loop without a server, decode, predict in batches, again.

Reads a number of seconds from each line of its input, works for so long, and
prints how many bodies it has answered, in how many seconds, with how much CPU.
Runs in a peer's environment; `measure.Offline` starts as many as there are workers.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.peers.task import current
from benchmarks.peers.work import handler


def main() -> None:
    task = current()
    handle = handler(task)
    batch = [Path(sys.argv[1]).read_bytes()] * task.max_batch_size
    print(json.dumps(handle(batch)[0]), flush=True)
    for line in sys.stdin:
        started, burnt, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < float(line):
            handle(batch)
            count += len(batch)
        cpu = time.process_time() - burnt
        print(json.dumps([count, time.perf_counter() - started, cpu]), flush=True)


if __name__ == "__main__":
    main()
