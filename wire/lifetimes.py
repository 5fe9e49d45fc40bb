"""How a process ends with the one that started it.

Every process of ours is somebody's child, and none may outlive its parent,
however that ends. Here because coordinators, hosts, workers and builders have
no other room in common. Linux alone can do it; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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
