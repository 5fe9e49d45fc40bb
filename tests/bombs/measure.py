"""What each bomb takes of a decoder's worker: a process of its own for each, limits as there.

`python -m tests.bombs` prints it; `--json` prints a line for each. `tests/preprocess` reads those.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from minion.model import Batch, InvalidInput, LoadContext
from preprocess.model import Decoder

OUT_OF_TIME = "out of time"
TRANSFORMS = [{"height": 224, "width": 224, "resize": mode} for mode in ("crop", "pad", "stretch")]


class Cost(NamedTuple):
    outcome: str
    """`read`, the code of the refusal, or how the process ended."""
    cpu_seconds: float
    memory_bytes: int
    """At most, beside what the worker held at rest."""


def measure(data: bytes, transforms: Sequence[dict[str, Any]] = TRANSFORMS) -> Cost:
    theirs, ours = os.pipe()
    ctypes.CDLL(None).malloc_trim(0)  # or the child would use again what making the file has left
    pid = os.fork()
    if pid == 0:
        os.write(ours, msgspec.json.encode(_decoded(data, transforms)))
        os._exit(0)
    os.close(ours)
    with open(theirs, "rb") as told:
        cost = told.read()
    _, status, used = os.wait4(pid, 0)
    if not cost:
        late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
        outcome = OUT_OF_TIME if late else f"ended with {status}"
        return Cost(outcome, used.ru_utime + used.ru_stime, 0)
    return msgspec.json.decode(cost, type=Cost)


def _decoded(data: bytes, transforms: Sequence[dict[str, Any]]) -> Cost:
    decoder = Decoder()
    decoder.load(LoadContext(Path("."), "cpu", 1, 1, {}))
    decoder.warmup(Batch({}, []))
    batch = Batch(
        {"file": np.frombuffer(data, np.uint8)[np.newaxis]}, [{"transforms": list(transforms)}]
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before, started = _bytes("VmRSS"), time.process_time()
    (answer,) = decoder.predict(batch)
    seconds, most = time.process_time() - started, _bytes("VmHWM")
    outcome = (answer.code or "") if isinstance(answer, InvalidInput) else "read"
    return Cost(outcome, seconds, most - before)


def _bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
