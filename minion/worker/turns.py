"""How long the kernel lets this process compute before another one has its turn.

The kernel takes turns of a few milliseconds. Where more processes compute than there are
cores, a batch of 50 ms is interrupted a dozen times, and finds the core's caches full of
somebody else's each time. Whoever asks for longer turns gets them, and a later deadline for
that: processes with less to do go first. See docs/adr/0025. Linux 6.12 and newer grant it;
elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Callable

#: Batches that take less have turns like everybody's.
SHORT_SECONDS = 0.01
#: No turn is longer, as the kernel has it.
MAX_SECONDS = 0.1
#: The number of `sched_setattr`: asm/unistd_64.h, asm-generic/unistd.h.
_SYSCALLS = {"x86_64": 314, "aarch64": 274}


class _Attributes(ctypes.Structure):
    """`struct sched_attr`, as of its first version: linux/sched/types.h."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def ask_for_turns(seconds: float) -> None:
    """Of the thread that calls. 0: turns like everybody's.

    Nothing happens where the kernel does not grant it, or somebody else has given the process
    another scheduling policy.
    """
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime=int(seconds * 1e9),
    )
    ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0)


class Turns:
    """As long as a batch takes: it asks again when that has become much more, or much less."""

    def __init__(self, ask: Callable[[float], None] = ask_for_turns) -> None:
        self._ask = ask
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """A batch has taken so long."""
        wanted = 0.0 if seconds < SHORT_SECONDS else min(seconds, MAX_SECONDS)
        if wanted > 2 * self._seconds or wanted < self._seconds / 2:
            self._seconds = wanted
            self._ask(wanted)
