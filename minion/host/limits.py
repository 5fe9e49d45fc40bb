"""What a worker's process may take of its machine, and what it has taken: see docs/adr/0020.

Set from outside, before the process hears of its model, so that a fork of a
template and a process of its own are limited alike. Called by `processes`, and by
the keeper, which looks now and then.
"""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

from minion.host.spec import ServiceSpec

MAX_OPEN_FILES = 4096
#: Where cores go to a program, a limit of 0 does not keep the kernel from starting it, and 1 does.
NO_CORE_BYTES = 1
#: A worker that holds so much of what it may is replaced before it gets no more.
SOFT_PART = 0.8


def limit(pid: int, spec: ServiceSpec) -> None:
    """Sets the limits of a process that has just begun, and of all that it will start.

    One that has ended already has none.

    Raises:
        PermissionError: it is somebody else's.
    """
    wanted = {
        resource.RLIMIT_CORE: NO_CORE_BYTES,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_FSIZE: spec.temporary_bytes,
    }
    if spec.memory_bytes is not None and _counts_data(spec):
        wanted[resource.RLIMIT_DATA] = spec.memory_bytes
    with contextlib.suppress(ProcessLookupError):
        for number, value in wanted.items():
            _, hard = resource.prlimit(pid, number)
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, number, (most, most))


def held_bytes(pid: int, spec: ServiceSpec) -> int:
    """What counts against `memory_bytes`; 0 of a process that is gone."""
    field = "VmData:" if _counts_data(spec) else "RssAnon:"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def soft_limit(memory_bytes: int, *, loaded_bytes: int) -> float:
    """From which on a worker is replaced.

    Args:
        loaded_bytes: what it held when it had loaded: its successor will hold as much.
    """
    return max(SOFT_PART * memory_bytes, (loaded_bytes + memory_bytes) / 2)


def _counts_data(spec: ServiceSpec) -> bool:
    """What a GPU's driver maps is its own affair, and may be more than the memory that is there."""
    return spec.device == "cpu"
