"""What the kernel says of other processes: who runs, and who descends from whom."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def alive(pid: int | None) -> bool:
    """Whether the process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> set[int]:
    """Of all its threads; dead ones that nobody has waited for among them."""
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has gone
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                found.update(map(int, words.split()))
    return found


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    return {pid}.union(*map(family, children(pid)))


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
