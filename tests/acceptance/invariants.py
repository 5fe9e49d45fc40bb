"""What must be as before once nobody asks any more: looked at after every acceptance test."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

#: Connections that are kept alive, and what a process opens late and keeps.
SPARE_DESCRIPTORS = 8
#: What the kernel shows of shared memory that has a name.
SHARED_MEMORY = Path("/dev/shm")


def descriptors(pids: Iterable[int]) -> dict[int, int]:
    """How many each process has open; without those that have gone."""
    found = {}
    for pid in pids:
        try:
            found[pid] = len(os.listdir(f"/proc/{pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def leaking(before: Mapping[int, int], now: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Processes that have more open than they may, with how many before and now."""
    return {
        pid: (before[pid], count)
        for pid, count in now.items()
        if pid in before and count > before[pid] + SPARE_DESCRIPTORS
    }


def shared_memory() -> set[str]:
    return {each.name for each in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()


def tracebacks(logs: Path) -> list[str]:
    """Of the coordinators: whatever a caller, a model or a network does, it is foreseen."""
    return [
        text[at : at + 2000]
        for log in sorted(logs.glob("coordinator-*.log"))
        if (at := (text := log.read_text(errors="replace")).find("Traceback")) >= 0
    ]
