"""What the kernel knows of a thread's slices."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys

import pytest

from wire.slices import SLICE_SECONDS

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
SIZE = 56

#: In a process of its own: nobody can take back what was asked for.
CODE = """
import os, sys, threading
from tests.wire.test_slices import slice_seconds
from wire.slices import take_short_slices
os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
os.nice(int(sys.argv[2]))
seen = [slice_seconds()]
take_short_slices()
seen.append(slice_seconds())
thread = threading.Thread(target=lambda: seen.append(slice_seconds()))
thread.start()
thread.join()
print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.nice(0), *seen)
"""


def slice_seconds() -> float:
    attributes = ctypes.create_string_buffer(SIZE)
    ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, attributes, SIZE, 0)
    return float(struct.unpack_from("Q", attributes, 24)[0]) / 1e9


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split(".")[:2])


def seen(scheduler: int, niceness: int) -> list[float]:
    """The scheduling class and the niceness at the end; the slices before, after, and of a
    thread that was started then."""
    command = [sys.executable, "-c", CODE, str(scheduler), str(niceness)]
    told = subprocess.check_output(command, text=True)
    return [float(word) for word in told.split()]


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or kernel() < (6, 12) or platform.machine() not in SCHED_GETATTR,
    reason="slices are Linux's, from 6.12 on",
)


def test_the_calling_thread_has_short_ones_and_what_it_starts_has_not() -> None:
    scheduler, niceness, before, after, others = seen(os.SCHED_OTHER, 5)

    assert (scheduler, niceness) == (os.SCHED_OTHER, 5)
    assert after == SLICE_SECONDS
    assert before == others > SLICE_SECONDS


@pytest.mark.parametrize(
    "given",
    [
        (os.SCHED_BATCH, 5),
        pytest.param(
            (os.SCHED_OTHER, -5),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone has that"),
        ),
    ],
)
def test_who_was_given_another_class_or_more_weight_keeps_all(given: tuple[int, int]) -> None:
    *kept, before, after, others = seen(*given)

    assert tuple(kept) == given
    assert before == after == others
