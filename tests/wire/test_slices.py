"""What the kernel knows of a thread's slices."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
import threading

import pytest

from wire.slices import SLICE_SECONDS, take_short_slices

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
SIZE = 56


def slice_seconds() -> float:
    attributes = ctypes.create_string_buffer(SIZE)
    ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, attributes, SIZE, 0)
    return float(struct.unpack_from("Q", attributes, 24)[0]) / 1e9


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split(".")[:2])


@pytest.mark.skipif(
    sys.platform != "linux" or kernel() < (6, 12) or platform.machine() not in SCHED_GETATTR,
    reason="slices are Linux's, from 6.12 on",
)
def test_the_calling_thread_has_short_ones_and_what_it_starts_has_not() -> None:
    ordinary = slice_seconds()
    seen: list[float] = []

    def changed() -> None:
        take_short_slices()
        seen.append(slice_seconds())
        other = threading.Thread(target=lambda: seen.append(slice_seconds()))
        other.start()
        other.join()
        code = "from tests.wire.test_slices import slice_seconds; print(slice_seconds())"
        seen.append(float(subprocess.check_output([sys.executable, "-c", code])))

    thread = threading.Thread(target=changed)
    thread.start()
    thread.join()

    assert ordinary > SLICE_SECONDS
    assert seen == [SLICE_SECONDS, ordinary, ordinary]
    assert slice_seconds() == ordinary
