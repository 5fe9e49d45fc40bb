"""The kernel holds a decode to what a file may take, and the process is as before afterwards."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preprocess.allowance import Limits, MeteredFile, cpu_allowed, memory_allowed

ROOT = Path(__file__).parents[2]
MIB = 2**20


def ran(program: str) -> subprocess.CompletedProcess[str]:
    setting = (
        "from preprocess.allowance import *; from preprocess.allowance import _resident_bytes\n"
    )
    return subprocess.run(
        [sys.executable, "-c", setting + program],
        env={
            "PYTHONPATH": str(ROOT),
            "MALLOC_MMAP_MAX_": "0",
            "MALLOC_TRIM_THRESHOLD_": "536870912",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("size_bytes", "seconds"), [(0, 0.5), (1, 0.5), (MIB, 0.5), (MIB + 1, 1.0), (20 * MIB, 10.0)]
)
def test_a_larger_file_may_take_longer(size_bytes: int, seconds: float) -> None:
    assert cpu_allowed(size_bytes, 0.5) == seconds


def test_more_memory_is_allowed_where_more_pixels_are() -> None:
    assert memory_allowed(1) == memory_allowed(40_000_000) == 250_000_000
    assert memory_allowed(80_000_000) == 500_000_000


def test_too_much_memory_is_a_memory_error_and_less_is_not() -> None:
    told = ran("""
limits = Limits(100_000_000)
with limits.around(60):
    bytes(80_000_000)
    try:
        bytes(120_000_000)
    except MemoryError:
        print("refused")
bytes(120_000_000)
""")

    assert (told.stdout, told.returncode) == ("refused\n", 0), told.stderr


def test_too_much_cpu_ends_the_process_also_within_a_library() -> None:
    told = ran("""
with Limits(100_000_000).around(0.1):
    2**1_000_000_000 // 3
""")

    assert told.returncode == -signal.SIGPROF


def test_a_metered_file_is_read_until_the_time_is_over() -> None:
    told = ran("""
import time
file = MeteredFile(b"abcdef", 0.05)
print(file.read(2))
end = time.process_time() + 0.1
while time.process_time() < end: pass
try:
    file.read(2)
except OutOfTime:
    print("over")
""")

    assert told.stdout == "b'ab'\nover\n", told.stderr


def test_waiting_is_no_work_to_a_metered_file() -> None:
    file = MeteredFile(b"abcdef", 0.05)
    time.sleep(0.06)

    assert file.read() == b"abcdef"


def test_the_time_counts_for_one_decode_only() -> None:
    told = ran("""
import time
limits = Limits(100_000_000)
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
for _ in range(4):
    with limits.around(0.4):
        work(0.15)
work(0.5)
""")

    assert told.returncode == 0


def test_limits_are_as_before_after_a_decode_also_after_one_that_failed() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    with contextlib.suppress(ZeroDivisionError), Limits(2**30).around(60):
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
        _ = 1 / 0

    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_what_a_large_photo_has_left_is_given_back() -> None:
    told = ran("""
limits = Limits(250_000_000)
before = _resident_bytes()
with limits.around(60):
    held = [b"x" * 1_000_000 for _ in range(200)]
del held
kept = _resident_bytes() - before
limits.rest()
print(kept > 150_000_000, _resident_bytes() - before < 20_000_000)
""")

    assert told.stdout == "True True\n", told.stderr
