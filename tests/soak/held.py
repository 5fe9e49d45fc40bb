"""What a platform holds when nobody asks, and what of it grew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tests.processes import family

GROWTH, GROWTH_BYTES = 0.02, 10 * 10**6


class Held(NamedTuple):
    """What one process holds."""

    memory_bytes: int
    """Resident."""
    shared_bytes: int
    """Of those: of memory that it shares, as far as it was touched."""
    descriptors: int
    shared: int
    """Of those: of memory that it shares."""
    threads: int


class State(NamedTuple):
    """Of the whole platform, when nobody asks."""

    processes: dict[int, Held]
    names: set[str]
    """Shared memory that has a name."""


def held(root: int) -> dict[int, Held]:
    """By pid, of this process and all that descend from it; without those that have gone."""
    found = ((pid, _held(pid)) for pid in family(root))
    return {pid: held for pid, held in found if held is not None}


def _held(pid: int) -> Held | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        numbers = os.listdir(f"/proc/{pid}/fd")
        opened = [os.readlink(f"/proc/{pid}/fd/{number}") for number in numbers]
    except OSError:  # it has gone meanwhile, or closes some
        return None
    said = dict(line.split(":", 1) for line in lines)
    memory, of_it = (1024 * int(said.get(name, "0").split()[0]) for name in ("VmRSS", "RssShmem"))
    return Held(
        memory_bytes=memory,  # the dead have none
        shared_bytes=of_it,
        descriptors=len(opened),
        shared=sum(each.startswith(("/memfd:", "/dev/shm/")) for each in opened),
        threads=int(said["Threads"]),
    )


def findings(before: State, now: State) -> list[str]:
    """What grew."""
    found = [f"shared memory was left: {name}" for name in now.names - before.names]
    for pid in before.processes.keys() ^ now.processes.keys():
        found.append(f"process {pid} {'came' if pid in now.processes else 'went'}")
    for pid in before.processes.keys() & now.processes.keys():
        old, new = before.processes[pid], now.processes[pid]
        for what in ("descriptors", "shared", "threads"):
            if getattr(new, what) > getattr(old, what):
                found.append(f"{what} of process {pid}: {getattr(old, what)}, {getattr(new, what)}")
    return found


def memory_findings(before: State, now: State) -> list[str]:
    """Whose resident memory grew too much."""
    found = []
    for pid in before.processes.keys() & now.processes.keys():
        old, new = before.processes[pid].memory_bytes, now.processes[pid].memory_bytes
        if new - old > GROWTH_BYTES or new > (1 + GROWTH) * old:
            found.append(f"memory of process {pid}: {old / 1e6:.1f} MB, {new / 1e6:.1f} MB")
    return found
