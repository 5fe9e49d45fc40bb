"""How a process ends with the one that started it.

Every process of ours is somebody's child, and none may outlive its parent,
however that ends. What a model starts may leave its parent and its group:
whoever starts workers adopts it then, and can end it. Here because coordinators,
hosts, workers and builders have no other room in common. Linux alone can do it;
elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Set

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


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
    """The processes whose parent this one is, dead ones that nobody has waited for among them."""
    found: Set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
        except FileNotFoundError:  # a thread that has just ended, or a kernel that does not tell
            continue
    return found
