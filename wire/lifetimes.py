"""How a process ends with the one that started it.

Every process of ours is somebody's child, and none may outlive its parent,
however that ends. What a model starts may leave its parent and its group:
whoever starts workers adopts it then, and ends it: however many there are, gradually.
Here because coordinators, hosts, workers, templates and builders have no other room in
common. Linux alone can do it; elsewhere nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import sys
from typing import Set

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
#: 117 of 30 MB that ended together kept everybody else from two cores for 25 to 39 ms
#: (docs/benchmarks.md, "A neighbour that does its worst").
_AT_A_LOOK = 4
#: However many there are, this many looks end most of them.
_LOOKS = 50


def end_with_parent(by: int = signal.SIGKILL) -> None:
    """From now on the kernel sends this process the signal when its parent ends.

    Of a parent that ended before, nobody is told: whoever knows its pid asks
    `end_with`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


def end_with(parent: int) -> bool:
    """Whether the parent lives; from now on, this process does not outlive it."""
    end_with_parent()
    return os.getppid() == parent  # in this order


def adopt_orphans() -> None:
    """From now on what descends from this process, and has lost its parent, is its child."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> Set[int]:
    """What this process's main thread has started, and what the process has adopted.

    Dead ones that nobody has waited for are among them. Adopted ones are the main thread's,
    as long as that lives (`find_alive_thread` of Linux's exit.c).
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:
            return set(map(int, file.readall().split()))
    except FileNotFoundError:  # a kernel that does not tell
        return set()


def has_dead_child() -> bool:
    """Whether a child of this process has ended, and nobody has waited for it: one system call."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it has none
        return False


class GradualEnd:
    """An end for processes, however many, that leaves others the cores meanwhile."""

    #: Between two looks. A killed process is gone in a millisecond, and one that held much
    #: memory in a hundred.
    PAUSE_SECONDS = 0.005

    def __init__(self) -> None:
        self._killed: Set[int] = set()

    def look(self, pids: Set[int]) -> None:
        """Kills some of those that are left, and stops the others: they do nothing any more.

        To be called again until none is left, or `finish` when there is no time for that:
        whoever is stopped would stay so. Somebody else's are passed over.
        """
        self._killed &= pids
        left = pids - self._killed
        now = set(itertools.islice(left, max(_AT_A_LOOK, len(left) // _LOOKS)))
        for pid in left:
            _send(pid, signal.SIGKILL if pid in now else signal.SIGSTOP)
        self._killed |= now

    def finish(self, pids: Set[int]) -> None:
        """Kills all that are left at once."""
        for pid in pids - self._killed:
            _send(pid, signal.SIGKILL)
        self._killed |= pids


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
