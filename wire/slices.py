"""How long a process's turns on a core are.

Coordinators and hosts need a core for a tenth of a millisecond, and at once: each request
waits for each of them. Models compute for long. Linux, from 6.12 on, lets a process say how
long its slices are, and whoever has shorter ones interrupts who has longer ones; what
everybody gets in the end stays the same. Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

#: The shortest that there are.
SLICE_SECONDS = 1e-4

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # glibc has had a function for it since 2.41
_RESET_ON_FORK = 1
_ATTRIBUTES = struct.Struct("IIQiIQQQ")  # linux/sched/types.h; the slice is `sched_runtime`


def take_short_slices() -> None:
    """Of the calling thread; its children and the threads that it starts have ordinary ones.

    Whoever was given another scheduling class, or a negative niceness, keeps that, also for what
    he starts: nothing is asked then.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness < 0 or not _is_ordinary():
        return
    nanoseconds = round(SLICE_SECONDS * 1e9)
    attributes = _ATTRIBUTES.pack(
        *(_ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, niceness, 0, nanoseconds, 0, 0)
    )
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)  # older kernels do not look at the slice


def _is_ordinary() -> bool:
    try:
        return os.sched_getscheduler(0) == os.SCHED_OTHER
    except OSError:  # some C libraries and sandboxes do not tell
        return False
